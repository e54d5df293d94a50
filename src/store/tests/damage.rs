//! An index that is not as it was left: the store starts, serves everything, and the index is whole again.

use futures_util::{StreamExt, stream};

use super::*;

const PICTURES: u32 = 200;

/// What is done to the files of an index.
#[derive(Clone, Copy, Debug)]
enum Damage {
    /// One bit of the file, so many thousandths behind its start.
    Flip(usize),
    /// A stretch of bytes there.
    Overwrite(usize),
    /// All from there on.
    Cut(usize),
    Empty,
    Remove,
    Garbage,
    /// A folder of this name in its place.
    Folder,
}

use Damage::*;

fn damage(path: &Path, how: Damage) {
    let mut bytes = fs::read(path).unwrap();
    let at = |part: usize| (bytes.len() * part / 1000).min(bytes.len().saturating_sub(1));
    match how {
        Flip(part) => {
            let at = at(part);
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << (part % 8);
            }
        }
        Overwrite(part) => {
            let at = at(part);
            bytes.iter_mut().skip(at).take(64).for_each(|byte| *byte = 0xff);
        }
        Cut(part) => bytes.truncate(at(part)),
        Empty => bytes.clear(),
        Remove => return fs::remove_file(path).unwrap(),
        Garbage => bytes.iter_mut().enumerate().for_each(|(i, byte)| *byte = (i * 197 % 251) as u8),
        Folder => {
            fs::remove_file(path).unwrap();
            return fs::create_dir(path).unwrap();
        }
    }
    fs::write(path, bytes).unwrap();
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, to) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        if path.is_dir() { copy(&path, &to) } else { assert!(fs::copy(&path, &to).is_ok()) }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_happens_to_the_index_every_picture_is_served_and_listed() {
    let dir = tempfile::tempdir().unwrap();
    let process = config::Store { durability: Durability::Process, ..settings() };
    let mut ids = Vec::new();
    {
        let store = Store::open(dir.path(), &process, None).unwrap();
        for seed in 0..PICTURES {
            ids.push(put(&store, &gif(seed, 100)).await.unwrap().facts.id);
        }
        until_listed(&store, PICTURES.into()).await;
        close(dir.path(), store).await;
    }

    let mut cases: Vec<(String, Damage)> = Vec::new();
    for file in
        files_in(&dir.path().join("index")).into_iter().filter(|name| dir.path().join("index").join(name).is_file())
    {
        let parts = if file == "db" { (0..1000).step_by(143).collect() } else { vec![0, 700] };
        for part in parts {
            cases.extend([(file.clone(), Flip(part)), (file.clone(), Overwrite(part)), (file.clone(), Cut(part))]);
        }
        cases.extend([Empty, Remove, Garbage, Folder].map(|how| (file.clone(), how)));
    }
    assert!(cases.len() > 30, "{cases:?}");

    // Each on a copy of its own, some at a time.
    let trials = cases.into_iter().map(|(file, how)| trial(dir.path(), file, how, &ids, &process));
    stream::iter(trials).buffer_unordered(16).collect::<()>().await;
}

async fn trial(dir: &Path, file: String, how: Damage, ids: &[PictureId], settings: &config::Store) {
    let what = format!("{how:?} of {file}");
    let damaged = tempfile::tempdir().unwrap();
    copy(dir, damaged.path());
    damage(&damaged.path().join("index").join(&file), how);
    let store = Store::open(damaged.path(), settings, None).unwrap_or_else(|e| panic!("{what}: {e}"));
    for id in ids {
        assert!(store.get(id).await.unwrap().is_some(), "{what}");
    }
    let new = put(&store, &gif(PICTURES, 100)).await.unwrap().facts.id;
    let all = ids.len() + 1;
    until(&what, async || {
        let listed = store.recent(None, 1000).await.map_or(0, |page| page.entries.len());
        let counted = store.counts().await.is_ok_and(|counts| counts.pictures == all as u64);
        store.index_state() == IndexState::Ready && listed == all && counted
    })
    .await;
    assert!(store.entry(new).await.unwrap().is_some(), "{what}");
}
