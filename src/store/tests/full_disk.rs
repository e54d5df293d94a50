//! A disk that is really full: a small one in memory, where this process may mount one.

use std::process::Command;

use super::*;

/// A file system of a few megabytes.
struct SmallDisk {
    dir: tempfile::TempDir,
}

impl SmallDisk {
    /// `None`: mounting is not allowed here.
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"]).arg(dir.path());
        mount.output().is_ok_and(|output| output.status.success()).then_some(Self { dir })
    }

    /// Leaves no room at all.
    fn fill(&self) {
        use std::io::Write as _;
        let mut file = fs::File::create(self.dir.path().join("filler")).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
    }

    fn free(&self) {
        fs::remove_file(self.dir.path().join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.dir.path()).status();
    }
}

/// An error of sled stays until it is opened again, so this shows that it is.
#[tokio::test(flavor = "multi_thread")]
async fn when_the_disk_has_room_again_the_index_follows_without_a_restart() {
    let Some(disk) = SmallDisk::mount() else {
        println!("not shown: this process may not mount a disk");
        return;
    };
    let store = open(&disk.dir.path().join("data"));
    let mut ids = Vec::new();
    for seed in 0..20 {
        ids.push(put(&store, &gif(seed, 1000)).await.unwrap().facts.id);
    }
    until_listed(&store, 20).await;

    for round in 1..=2 {
        disk.fill();
        assert!(matches!(put(&store, &gif(1000, 1000)).await, Err(StoreError::Full)));
        // The index must write to follow looks; when the room it has taken in advance is used up, it cannot.
        let mut at_ms = round * 9_000_000_000_000;
        until("the failure of the index", async || {
            at_ms += 1;
            for id in &ids {
                store.inner.index.touch(*id, at_ms);
            }
            store.index_settled().await;
            store.index_state() == IndexState::Closed
        })
        .await;
        for id in &ids {
            assert!(store.get(id).await.unwrap().is_some());
        }
        disk.free();
        ids.push(put(&store, &gif(100 + round as u32, 1000)).await.unwrap().facts.id);
        until_listed(&store, 20 + round).await;
    }
    assert_eq!(store.recent(None, 100).await.unwrap().entries.len(), 22);
    assert_eq!(store.findings().rebuilt, 0, "it was opened again, not thrown away");
}
