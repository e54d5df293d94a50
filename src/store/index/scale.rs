//! A million entries: what it takes to open them, to list a page, to walk through all. For `make torture`, which prints it.

use std::{fs, time::Instant};

use super::{local::LocalIndex, *};
use crate::picture::Format;

const ENTRIES: u32 = 1_000_000;

fn entry(n: u32) -> Entry {
    let facts =
        Facts { id: PictureId::of(&n.to_le_bytes()), format: Format::Png, len: 1_500_000, created_ms: u64::from(n) };
    Entry {
        facts,
        model: Some("gpt-image-2".into()),
        key: Some("open-webui".into()),
        local: n.is_multiple_of(10),
        archive: Archiving::Done,
        pinned: false,
        touched_ms: facts.created_ms,
    }
}

fn resident() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    status.lines().find(|line| line.starts_with("VmRSS")).unwrap().to_owned()
}

#[tokio::test]
#[ignore = "a minute or more; make torture"]
#[expect(clippy::print_stdout, reason = "the figures are the purpose")]
async fn a_million_entries() {
    let dir = tempfile::tempdir().unwrap();
    let open = || LocalIndex::open(dir.path(), Some("bucket")).unwrap();
    let start = Instant::now();
    {
        let index = open();
        for first in (0..ENTRIES).step_by(5000) {
            index.apply((first..first + 5000).map(|n| Change::Put(entry(n))).collect()).await.unwrap();
        }
        index.flush().await.unwrap();
    }
    println!("filled: {:.1?}, {}", start.elapsed(), resident());

    let start = Instant::now();
    let index = open();
    println!("opened: {:.1?}, {}", start.elapsed(), resident());
    let start = Instant::now();
    let page = index.newest(None, 100).await.unwrap();
    println!("first page: {:.1?}", start.elapsed());
    assert_eq!(page[0], entry(ENTRIES - 1));
    let start = Instant::now();
    index.newest(Some(entry(ENTRIES / 2).cursor()), 100).await.unwrap();
    println!("a page in the middle: {:.1?}", start.elapsed());
    assert_eq!(index.counts().await.unwrap().pictures, u64::from(ENTRIES));

    let (start, mut after, mut seen, mut slowest) = (Instant::now(), None, 0, Duration::ZERO);
    loop {
        let start = Instant::now();
        let page = index.oldest(after, 256).await.unwrap();
        slowest = slowest.max(start.elapsed());
        let Some(last) = page.last() else { break };
        after = Some(last.cursor());
        seen += page.len();
    }
    assert_eq!(seen, ENTRIES as usize);
    println!("all in pages of 256: {:.1?}, slowest {slowest:.1?}, {}", start.elapsed(), resident());
}
