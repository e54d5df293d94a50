//! A data directory in which others leave things, and one that two gateways use.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use crate::{
    binary::Site,
    load::{Dice, Load, MIXED, Outcome, Seen, all_there},
    signals::listed,
};

async fn some_pictures(site: &Site, clients: u64, times: u64) -> Arc<Seen> {
    let load = Load::start(&site.url(""), clients, MIXED, Dice::told().below(u64::MAX), Arc::new(Seen::default()));
    load.seen.until(times, "good answers", Outcome::is_good).await;
    load.stop().await
}

fn pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// Things of every kind that nobody expects, in every folder but `tmp/`. Returns where they are.
fn litter(data: &Path) -> Vec<PathBuf> {
    let strange = "0".repeat(40);
    let mut all = Vec::new();
    // A shard of the names below, and one of pictures that are there.
    fs::create_dir_all(data.join("images/00")).unwrap();
    let shards = fs::read_dir(data.join("images")).unwrap().map(|shard| shard.unwrap().path());
    let mut folders =
        BTreeSet::from([data.to_owned(), data.join("images"), data.join("state"), data.join("images/00")]);
    folders.extend(shards.take(2));
    for folder in folders {
        let mut put = |name: &str, make: &dyn Fn(&Path)| {
            let path = folder.join(name);
            make(&path);
            all.push(path);
        };
        put("notes.txt", &|path| fs::write(path, "mine").unwrap());
        put(".hidden", &|path| fs::write(path, "mine").unwrap());
        put(&"n".repeat(255), &|path| fs::write(path, "mine").unwrap());
        put("a folder", &|path| fs::create_dir(path).unwrap());
        put(&format!("{strange}.png"), &|path| fs::create_dir(path).unwrap());
        put(&format!("{strange}.json"), &|path| fs::create_dir(path).unwrap());
        put(&format!("{strange}.gone"), &|path| fs::create_dir(path).unwrap());
        put(&format!("{strange}.jpg"), &|path| pipe(path));
        put(&format!("{strange}.webp"), &|path| symlink("/nowhere", path).unwrap());
        put(&format!("{strange}.gif"), &|path| symlink(path, path).unwrap());
        put(&format!("{}.png", "1".repeat(40)), &|path| {
            fs::write(path, "nobody may read this").unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o000)).unwrap();
        });
        put(&format!("{}.json", "2".repeat(40)), &|path| pipe(path));
    }
    for name in ["index.bad-mine", "index.bad-"] {
        fs::write(data.join(name), "mine").unwrap();
        all.push(data.join(name));
    }
    // Shards that are no folders, where no picture is.
    let free = |at: usize| {
        let names = (0..=255_u8).map(|first| data.join(format!("images/{first:02x}")));
        names.filter(|name| !name.exists()).nth(at).unwrap()
    };
    let (file, circle) = (free(0), free(1));
    fs::write(&file, "mine").unwrap();
    symlink(&circle, &circle).unwrap();
    all.extend([file, circle]);
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn things_that_nobody_expects_are_in_nobodys_way_and_stay() {
    let site = Site::with_key().await;
    let mut process = site.run().await;
    let seen = some_pictures(&site, 4, 12).await;
    process.signal("TERM");
    assert_eq!(process.exit().await, Some(0));

    let data = PathBuf::from(site.path("data"));
    let mine = litter(&data);
    let tmp = data.join("tmp");
    fs::create_dir_all(tmp.join("a folder/within")).unwrap();
    symlink(&data, tmp.join("link")).unwrap();
    pipe(&tmp.join("pipe"));
    // Damaged, so that it is moved away; and a picture moved to where there is more room.
    fs::write(data.join("index/db"), [0xa5; 4096]).unwrap();
    let url = seen.urls().pop_first().unwrap();
    let name = url.rsplit('/').next().unwrap();
    let blob = data.join("images").join(&name[..2]).join(name);
    fs::rename(&blob, data.join("elsewhere")).unwrap();
    symlink(data.join("elsewhere"), &blob).unwrap();

    let mut process = site.run().await;
    process.logs("the index was mended");
    all_there(seen.urls()).await;
    for odd in ["png", "jpg", "webp", "gif"] {
        let url = site.url(&format!("/images/{}.{odd}", "0".repeat(40)));
        assert_eq!(crate::process::get(url).await.status(), 404, "{odd}");
    }
    some_pictures(&site, 4, 12).await;
    process.signal("TERM");
    assert_eq!(process.exit().await, Some(0));
    assert!(!process.stderr().contains("panicked"), "{}", process.stderr());
    for path in &mine {
        assert!(fs::symlink_metadata(path).is_ok(), "{} was removed", path.display());
    }
    assert_eq!(fs::read_dir(&tmp).unwrap().count(), 0, "tmp/ is ours alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_gateways_on_one_directory_lose_nothing() {
    let (one, other) = (Site::with_key().await, Site::with_key().await);
    let data = |site: &Site| format!("data_dir: {}", site.path("data"));
    other.change(&data(&other), &data(&one));
    let mut first = one.run().await;
    let mut second = other.run().await;
    second.logs("another process has it open");

    let (ours, theirs) = tokio::join!(some_pictures(&one, 4, 20), some_pictures(&other, 4, 20));
    // One dies in the middle of its work, and comes back while the other writes.
    let load = Load::start(&one.url(""), 4, MIXED, Dice::told().below(u64::MAX), ours);
    load.seen.until(load.seen.times(Outcome::is_good) + 5, "good answers", Outcome::is_good).await;
    first.signal("KILL");
    first.exit().await;
    let ours = load.stop().await;
    let (again, more) = tokio::join!(one.run(), some_pictures(&other, 4, 10));
    first = again;

    let through = |site: &Site, urls: &BTreeSet<String>| -> BTreeSet<String> {
        urls.iter().map(|url| site.url(&format!("/images/{}", url.rsplit('/').next().unwrap()))).collect()
    };
    let all: BTreeSet<String> = [&ours, &theirs, &more].iter().flat_map(|seen| through(&one, &seen.urls())).collect();
    for site in [&one, &other] {
        all_there(through(site, &all)).await;
    }
    for process in [&mut first, &mut second] {
        process.signal("TERM");
        assert_eq!(process.exit().await, Some(0), "{}", process.stderr());
    }
    listed(&one, &all).await;
}
