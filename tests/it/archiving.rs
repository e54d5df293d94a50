//! Pictures go to the archive, come back from it, and are deleted in it.

use std::{
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use futures_util::{TryStreamExt as _, future::join_all};
use http::Method;
use picgate::{
    archive::{ArchiveError, Bucket, Found, Meta, Source, What},
    background::archiver::{Archiver, Round},
    picture::{Format, PictureId},
    store::IndexState,
};
use serde_json::json;

use crate::{
    harness::{
        House, PATIENCE,
        faults::{Fault, Faults},
        seaweed::{ACCESS_KEY, BUCKET, SECRET_KEY, Seaweed, archive_at},
        until, wire,
    },
    process::{picgate, run},
    variants,
};

/// A gateway whose archive is a prefix of the shared server, behind faults that can be switched on.
pub struct Place {
    pub house: House,
    pub faults: Arc<Faults>,
    prefix: String,
    archiver: OnceLock<Arc<Archiver>>,
}

impl Place {
    pub async fn new(prefix: &str) -> Self {
        Self::with(prefix, "").await
    }

    /// `more`: further settings of the archive, such as `redirect: presigned`.
    async fn with(prefix: &str, more: &str) -> Self {
        let faults = Faults::before(Seaweed::shared().await.addr()).await;
        Self::at(Arc::new(faults), prefix, &[&line(prefix, more)]).await
    }

    /// Another machine with the same archive.
    pub async fn other(&self) -> Self {
        Self::at(Arc::clone(&self.faults), &self.prefix, &[&line(&self.prefix, "")]).await
    }

    async fn at(faults: Arc<Faults>, prefix: &str, lines: &[&str]) -> Self {
        let mut builder = House::builder();
        for text in lines {
            builder = builder.line(&text.replace("ADDR", &faults.addr().to_string()));
        }
        let house = builder.start().await;
        let place = Self { house, faults, prefix: prefix.to_owned(), archiver: OnceLock::new() };
        place.ready().await;
        place
    }

    async fn ready(&self) {
        until("the index", || self.house.gateway.core().store.index_state() == IndexState::Ready).await;
    }

    fn bucket(&self) -> Bucket {
        Bucket::new(&archive_at(self.faults.addr(), &self.prefix)).unwrap()
    }

    /// The one of this place: another would wait for its lease.
    fn archiver(&self) -> Arc<Archiver> {
        let core = self.house.gateway.core();
        let new = || Arc::new(Archiver::new(core.store.clone(), self.bucket(), core.metrics.clone()));
        Arc::clone(self.archiver.get_or_init(new))
    }

    /// A picture that was made just now, as soon as the index knows it: path, id, bytes.
    pub async fn picture(&self, prompt: &str) -> (String, PictureId, bytes::Bytes) {
        let (url, bytes) = self.house.picture(prompt).await;
        let id = PictureId::of(&bytes);
        self.known(id).await;
        (url.strip_prefix(&self.house.origin()).unwrap().to_owned(), id, bytes)
    }

    async fn known(&self, id: PictureId) {
        let store = &self.house.gateway.core().store;
        let start = Instant::now();
        while store.entry(id).await.unwrap().is_none() {
            assert!(start.elapsed() < PATIENCE, "the index does not know {id}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// A picture that is only in the archive.
    pub async fn evicted(&self, prompt: &str) -> (String, PictureId, bytes::Bytes) {
        let (path, id, bytes) = self.picture(prompt).await;
        self.archiver().round().await;
        assert!(self.house.gateway.core().store.evict(id).await.unwrap().is_some());
        assert!(!self.file(id).exists());
        (path, id, bytes)
    }

    fn file(&self, id: PictureId) -> PathBuf {
        self.house.data_dir().join("images").join(id.shard()).join(format!("{id}.png"))
    }

    async fn objects(&self) -> Vec<Found> {
        self.bucket().list(None).await.unwrap().try_collect().await.unwrap()
    }
}

fn line(prefix: &str, more: &str) -> String {
    let comma = if more.is_empty() { "" } else { ", " };
    format!(
        "archive: {{ endpoint: \"http://ADDR\", bucket: {BUCKET}, prefix: {prefix}, access_key_id: {ACCESS_KEY}, \
         secret_access_key: {SECRET_KEY}{comma}{more} }}"
    )
}

async fn read(bucket: &Bucket, id: PictureId) -> Result<Vec<u8>, ArchiveError> {
    let download = bucket.open(id, picgate::picture::Format::Png, None).await?;
    let pieces: Vec<_> = download.into_stream().try_collect().await?;
    Ok(pieces.concat())
}

#[tokio::test]
async fn a_picture_reaches_the_archive_once_with_its_record() {
    let place = Place::new("once/").await;
    let (_, id, bytes) = place.picture("a lighthouse").await;
    let archiver = place.archiver();
    assert_eq!(archiver.round().await, Round { archived: 1, ..Round::default() });
    assert_eq!(archiver.round().await, Round::default());

    let bucket = place.bucket();
    assert_eq!(read(&bucket, id).await.unwrap(), bytes);
    let facts = bucket.head(id, picgate::picture::Format::Png).await.unwrap();
    assert_eq!(facts.content_type.as_deref(), Some("image/png"));
    assert_eq!(facts.metadata["model"], "demo-image");
    let record: serde_json::Value = serde_json::from_slice(&bucket.get_record(id).await.unwrap()).unwrap();
    assert_eq!(record["generation"]["prompt"], "a lighthouse");
    assert_eq!(place.objects().await.len(), 2);
    assert_eq!((place.faults.count("PUT", ".png"), place.faults.count("PUT", ".json")), (1, 1));
    assert_eq!(place.house.metric("picgate_archived_total"), 1);
    assert_eq!(place.house.metric("picgate_archived_bytes_total"), bytes.len() as u64);
    assert!(place.house.gateway.core().store.record(&id).await.unwrap().unwrap().archived.is_some());
}

#[tokio::test]
async fn an_evicted_picture_comes_back_once_for_all_who_ask() {
    let place = Place::new("back/").await;
    let (path, id, bytes) = place.evicted("a harbour").await;
    place.faults.inject_times(1, "GET", Fault::Slow(4096, Duration::from_millis(1)));
    let asked = join_all((0..20).map(|n| {
        let range = format!("bytes={n}-{}", 100 + n);
        let (house, path) = (&place.house, &path);
        async move {
            match n % 2 {
                0 => house.get(path).await,
                _ => house.send(Method::GET, path, &[("range", &range)], "").await,
            }
        }
    }));
    for (n, answer) in asked.await.into_iter().enumerate() {
        match n % 2 {
            0 => assert_eq!((answer.status.as_u16(), &answer.body), (200, &bytes)),
            _ => {
                assert_eq!((answer.status.as_u16(), &answer.body[..]), (206, &bytes[n..=100 + n]));
                // The whole may turn out to be wrong after this part has gone.
                assert_eq!(answer.header("cache-control"), "no-store");
            }
        }
    }
    assert_eq!(place.faults.count("GET", ".png"), 1);
    until("the file", || place.file(id).exists()).await;
    assert_eq!(place.house.get(&path).await.body, bytes);
    assert_eq!(place.faults.count("GET", ".png"), 1);
    assert_eq!(place.house.metric("picgate_archive_fills_total{result=\"ok\"}"), 1);
    assert!(place.house.metric("picgate_pictures_served_total{from=\"archive\"}") >= 1);
}

#[tokio::test]
async fn what_needs_no_bytes_leaves_the_archive_alone() {
    let place = Place::new("facts/").await;
    let (path, id, bytes) = place.evicted("a mill").await;
    let head = place.house.send(Method::HEAD, &path, &[], "").await;
    assert_eq!((head.status.as_u16(), head.header("content-length")), (200, bytes.len().to_string().as_str()));
    let etag = format!("\"{id}\"");
    let fresh = place.house.send(Method::GET, &path, &[("if-none-match", &etag)], "").await;
    assert_eq!(fresh.status, 304);
    assert_eq!(place.faults.count("GET", ".png"), 0);
    assert!(!place.file(id).exists());
}

#[tokio::test]
async fn a_new_machine_finds_pictures_in_the_archive() {
    let place = Place::new("machine/").await;
    let (path, id, bytes) = place.evicted("a bridge").await;
    let other = place.other().await;
    assert_eq!(other.house.get(&path).await.body, bytes);
    until("the file", || other.file(id).exists()).await;
    let record = other.house.gateway.core().store.record(&id).await.unwrap().unwrap();
    assert_eq!(record.generation.unwrap().prompt.as_deref(), Some("a bridge"));
    // It is there already: nothing waits.
    other.known(id).await;
    assert_eq!(other.archiver().round().await, Round::default());

    let nobodys = format!("/images/{}", PictureId::of(b"nobody's"));
    let asked = other.faults.count("GET", ".json");
    for _ in 0..3 {
        assert_eq!(other.house.get(&nobodys).await.status, 404);
    }
    assert_eq!(other.faults.count("GET", ".json") - asked, 1, "that it is not there is remembered");
}

#[tokio::test]
async fn a_new_machine_can_take_in_all_records_at_once() {
    let place = Place::new("roster/").await;
    let (_, with_record, _) = place.picture("an owl").await;
    let (_, without_record, bytes) = place.picture("a fox").await;
    let (_, alone, _) = place.picture("a bear").await;
    place.archiver().round().await;
    // A machine that was lost before it put the record, and a record left behind.
    let bucket = place.bucket();
    let (png, meta) =
        (picgate::picture::Format::Png, || Meta { created: UNIX_EPOCH + Duration::from_secs(7), model: None });
    bucket.delete(without_record, png).await.unwrap();
    bucket.put_picture(without_record, png, &Source::bytes(bytes.clone()), &meta()).await.unwrap();
    bucket.delete(alone, png).await.unwrap();
    bucket.put_record(alone, "{}").await.unwrap();

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("picgate.yaml");
    let archive = line("roster/", "").replace("ADDR", &place.faults.addr().to_string());
    let upstreams = "upstreams: [ { name: a, kind: openai, base_url: \"http://127.0.0.1:1\" } ]";
    let data = folder.path().join("data");
    std::fs::write(&file, format!("picgate:\n  data_dir: {}\n  {upstreams}\n  {archive}\n", data.display())).unwrap();
    let rebuild = || run(picgate(&["store", "rebuild", "--from-archive", "-c", file.to_str().unwrap()]));
    let (code, said, errors) = rebuild().await;
    assert_eq!(code, Some(0), "{said}{errors}");
    assert!(said.contains("the archive has 2 pictures, 2 of which were not known here"), "{said}");
    assert!(said.contains("2 pictures, 0 of them here"), "{said}");
    assert!(rebuild().await.1.contains("2 pictures, 0 of which were not known here"));

    let settings = picgate::config::Store::default();
    let place_name = archive_at(place.faults.addr(), "roster/").place();
    let store = picgate::store::Store::open(&data, &settings, Some(place_name)).unwrap();
    until("the index", || store.index_state() == IndexState::Ready).await;
    let known = store.record(&with_record).await.unwrap().unwrap();
    assert_eq!(known.generation.unwrap().prompt.as_deref(), Some("an owl"));
    let made = store.record(&without_record).await.unwrap().unwrap();
    assert_eq!((made.bytes, made.created_ms), (bytes.len() as u64, 7_000));
    assert!(store.record(&alone).await.unwrap().is_none());
    assert_eq!(store.counts().await.unwrap().waiting, 0);
}

#[tokio::test]
async fn a_picture_that_is_only_archived_goes_into_an_edit() {
    let place = Place::new("edit/").await;
    let (path, _, bytes) = place.evicted("a castle").await;
    let url = format!("{}{path}", place.house.origin());
    let body = json!({ "model": "demo-image", "prompt": "at night", "image": url });
    place.house.post("/v1/images/edits", body).await.ok();
    let received = place.house.demo.received();
    let sent = format!("{:?}", received[0]);
    assert!(sent.contains(&crate::harness::sha256(&bytes)), "{sent}");
}

#[tokio::test]
async fn a_deleted_picture_does_not_come_back_and_goes_from_the_archive() {
    let place = Place::new("deleted/").await;
    let (path, id, _) = place.picture("a tower").await;
    let archiver = place.archiver();
    archiver.round().await;
    assert_eq!(place.objects().await.len(), 2);

    assert!(place.house.gateway.core().store.delete(id).await.unwrap());
    assert_eq!(place.house.get(&path).await.status, 404, "while the archive still has it");
    assert_eq!(place.objects().await.len(), 2);
    let store = &place.house.gateway.core().store;
    let start = Instant::now();
    while store.buried(None, 1).await.unwrap().is_empty() {
        assert!(start.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(archiver.round().await, Round { deleted: 1, ..Round::default() });
    assert_eq!(place.objects().await, []);
    assert_eq!(place.house.get(&path).await.status, 404);
    assert!(!store.is_buried(id).await.unwrap(), "nothing is left to bury");
    assert_eq!(place.house.metric("picgate_archive_deletions_total"), 1);
}

#[tokio::test]
async fn a_picture_deleted_while_it_is_brought_to_the_archive_is_deleted_there_too() {
    let place = Place::new("race/").await;
    let (_, id, _) = place.picture("a cave").await;
    let archiver = place.archiver();
    // The record goes last; before it can go, the picture is deleted.
    place.faults.inject_times(1, "PUT", Fault::Slow(1, Duration::from_millis(300)));
    let round = tokio::spawn({
        let archiver = Arc::clone(&archiver);
        async move { archiver.round().await }
    });
    until("the upload", || place.faults.count("PUT", ".png") == 1).await;
    place.house.gateway.core().store.delete(id).await.unwrap();
    round.await.unwrap();
    let store = &place.house.gateway.core().store;
    while store.is_buried(id).await.unwrap() {
        archiver.round().await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(place.objects().await, []);
    assert!(store.record(&id).await.unwrap().is_none());
}

#[tokio::test]
async fn a_bucket_that_is_away_costs_nothing_but_time() {
    let place = Place::new("away/").await;
    place.faults.inject("PUT", Fault::Answer(503, "SlowDown"));
    let mut made = Vec::new();
    let archiver = place.archiver();
    made.push(place.picture("number 0").await);
    let round = tokio::spawn({
        let archiver = Arc::clone(&archiver);
        async move { archiver.round().await }
    });
    until("a failure", || place.house.metric("picgate_archive_failures_total{why=\"busy\"}") >= 1).await;
    for n in 1..12 {
        made.push(place.picture(&format!("number {n}")).await);
    }
    place.faults.heal();
    let mut archived = round.await.unwrap().archived;
    while archived < 12 {
        archived += rested(&archiver).await.archived;
    }
    let bucket = place.bucket();
    for (_, id, bytes) in &made {
        assert_eq!(read(&bucket, *id).await.unwrap(), *bytes);
    }
    let pictures = place.objects().await.iter().filter(|found| matches!(found.what, What::Picture(_))).count();
    assert_eq!(pictures, 12);
}

#[tokio::test]
async fn a_picture_the_bucket_spoils_does_not_hold_up_the_others() {
    let place = Place::new("spoilt/").await;
    place.picture("the first").await;
    place.faults.inject_times(1, "PUT", Fault::FlipUpload(300));
    let archiver = place.archiver();
    let first = archiver.round().await;
    assert_eq!((first.archived, first.troublesome), (0, 1));
    place.picture("the second").await;
    let second = archiver.round().await;
    assert_eq!((second.archived, second.troublesome), (1, 0));
}

/// Regression 24: the round did not end before each of its pictures was archived.
#[tokio::test]
async fn a_picture_the_bucket_does_not_take_does_not_hold_up_the_others() {
    for fault in [Fault::Answer(500, "InternalError"), Fault::Answer(403, "AccessDenied")] {
        let place = Place::new("stuck/").await;
        let (_, stuck, _) = place.picture(&format!("stuck {fault:?}")).await;
        place.faults.inject_for(&stuck.to_string(), "PUT", fault.clone());
        let archiver = place.archiver();
        let first = archiver.round().await;
        assert_eq!((first.archived, first.waiting), (0, 1), "it may be everybody's trouble");
        for n in 0..20 {
            place.picture(&format!("{fault:?} {n}")).await;
        }
        let second = archiver.round().await;
        assert_eq!((second.archived, second.waiting), (20, 0));
        // On a slow machine the second round tries it again, behind the others.
        let third = archiver.round().await;
        assert_eq!(second.troublesome + third.troublesome, 1, "others went well: it is its own trouble");
        let tried = place.faults.count("PUT", &format!("{stuck}.png"));
        assert_eq!(archiver.round().await, Round::default(), "it rests");
        assert_eq!(place.faults.count("PUT", &format!("{stuck}.png")), tried);
        place.faults.heal();
        assert_eq!(rested(&archiver).await.archived, 1);
    }
}

/// Each request to the bucket fails in turn, in each way, until there is none left to fail.
#[tokio::test]
async fn whatever_request_fails_a_mark_means_that_the_object_is_there() {
    let place = Place::new("each/").await;
    let bucket = Seaweed::shared().await.bucket("each/");
    let (store, archiver) = (&place.house.gateway.core().store, place.archiver());
    for fault in [Fault::Answer(500, "InternalError"), Fault::CutAfter(0), Fault::FlipUpload(100)] {
        for nth in 1.. {
            let mut made = Vec::new();
            for which in 0..2 {
                made.push(place.picture(&format!("{fault:?} at {nth}, picture {which} size:64x64")).await);
            }
            place.faults.inject_nth(nth, fault.clone());
            archiver.round().await;
            let met = !place.faults.is_waiting();
            place.faults.heal();
            for (_, id, bytes) in &made {
                if store.record(id).await.unwrap().unwrap().archived.is_some() {
                    assert_eq!(read(&bucket, *id).await.unwrap(), *bytes, "{fault:?} at {nth}");
                }
            }
            store.index_settled().await;
            while store.counts().await.unwrap().waiting > 0 {
                rested(&archiver).await;
                store.index_settled().await;
            }
            for (_, id, bytes) in &made {
                assert_eq!(read(&bucket, *id).await.unwrap(), *bytes, "{fault:?} at {nth}, in the end");
                assert!(bucket.get_record(*id).await.is_ok(), "{fault:?} at {nth}");
            }
            if !met {
                break;
            }
        }
    }
}

/// The next round that does something: pictures that failed rest for seconds.
async fn rested(archiver: &Archiver) -> Round {
    let start = Instant::now();
    loop {
        match archiver.round().await {
            round if round != Round::default() => return round,
            _ => assert!(start.elapsed() < PATIENCE, "it rests for ever"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Regression 25: the bucket was asked to delete until it did, and nothing else was done.
#[tokio::test]
async fn a_bucket_that_lets_nothing_be_deleted_takes_pictures() {
    let place = Place::new("undeletable/").await;
    let archiver = place.archiver();
    let mut doomed = Vec::new();
    for n in 0..5 {
        doomed.push(place.picture(&format!("doomed {n}")).await.1);
    }
    assert_eq!(archiver.round().await.archived, 5);
    place.faults.inject("DELETE", Fault::Answer(403, "AccessDenied"));
    place.faults.inject("POST", Fault::Answer(403, "AccessDenied"));
    let store = &place.house.gateway.core().store;
    for id in &doomed {
        store.delete(*id).await.unwrap();
    }
    place.picture("a new one").await;
    store.index_settled().await;
    let round = archiver.round().await;
    assert_eq!((round.archived, round.deleted, round.troublesome), (1, 0, 3), "the others are not even tried");
    assert_eq!(archiver.round().await.troublesome, 2);
    assert_eq!(archiver.round().await, Round::default());
    place.faults.heal();
    let mut deleted = 0;
    while deleted < 5 {
        deleted += rested(&archiver).await.deleted;
    }
}

/// Regression 26: a file that was damaged on the disk took the place of the good one in the bucket.
#[tokio::test]
async fn a_damaged_file_is_not_archived() {
    let place = Place::new("damaged/").await;
    let damage = |id: PictureId| {
        let mut bytes = std::fs::read(place.file(id)).unwrap();
        bytes[200] ^= 1;
        std::fs::write(place.file(id), bytes).unwrap();
    };
    let store = &place.house.gateway.core().store;

    let archiver = place.archiver();
    let (path, id, bytes) = place.picture("kept before").await;
    archiver.round().await;
    store.unmark_archived(id).await.unwrap();
    damage(id);
    store.index_settled().await;
    archiver.round().await;
    assert_eq!(read(&place.bucket(), id).await.unwrap(), bytes, "the good one is still there");
    assert!(store.record(&id).await.unwrap().unwrap().archived.is_some());
    assert_eq!(place.house.get(&path).await.body, bytes, "and comes back");

    let (path, id, bytes) = place.picture("never archived").await;
    damage(id);
    assert_eq!(archiver.round().await.archived, 0);
    assert!(matches!(read(&place.bucket(), id).await, Err(ArchiveError::Missing)));
    assert!(place.house.data_dir().join("damaged").join(format!("{id}.png")).exists());
    assert_ne!(place.house.get(&path).await.body, bytes);
    // Made again, it is good again.
    assert_eq!(place.picture("never archived").await.1, id);
    assert_eq!(place.house.get(&path).await.body, bytes);
}

/// Regression 31: a download that was under way brought a deleted picture back when the bucket had forgotten it already.
#[tokio::test]
async fn a_picture_deleted_on_its_way_back_stays_away() {
    let place = Place::new("deleted on its way/").await;
    let (path, id, bytes) = place.evicted("a swamp").await;
    let (store, archiver) = (&place.house.gateway.core().store, place.archiver());
    place.faults.inject_times(1, "GET", Fault::Slow(bytes.len() / 10, Duration::from_millis(150)));
    let asked = place.house.get(&path);
    let deleted = async {
        until("the download", || place.faults.count("GET", ".png") == 1).await;
        assert!(store.delete(id).await.unwrap());
        store.index_settled().await;
        while store.is_buried(id).await.unwrap() {
            archiver.round().await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let (answer, ()) = tokio::join!(asked, deleted);
    assert_eq!(answer.body, bytes, "who was reading it reads it to its end");
    until("its end", || place.house.metric("picgate_archive_fills_total{result=\"wrong\"}") == 1).await;
    assert!(!place.file(id).exists() && store.record(&id).await.unwrap().is_none());
    assert_eq!(place.house.get(&path).await.status, 404);
}

/// Regression 32: a wrong object in the bucket kept its mark, so that a good copy made again was evicted for it.
#[tokio::test]
async fn a_wrong_object_loses_its_mark_and_a_good_copy_takes_its_place() {
    let place = Place::new("garbage/").await;
    let (path, id, bytes) = place.evicted("a moor").await;
    let mut garbage = bytes.to_vec();
    garbage[500] ^= 1;
    let bucket = place.bucket();
    let meta = Meta { created: UNIX_EPOCH, model: None };
    bucket.put_picture(id, picgate::picture::Format::Png, &Source::bytes(garbage), &meta).await.unwrap();
    let mut wire = wire::Wire::to(&place.house).await;
    wire.send(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
    wire.rest().await;
    let store = &place.house.gateway.core().store;
    until("its end", || place.house.metric("picgate_archive_fills_total{result=\"wrong\"}") == 1).await;
    assert_eq!(place.picture("a moor").await.1, id);
    assert!(store.evict(id).await.unwrap().is_none(), "it is the only good copy");
    store.index_settled().await;
    while place.archiver().round().await.archived == 0 && read(&bucket, id).await.unwrap() != bytes {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(read(&bucket, id).await.unwrap(), bytes);
}

#[tokio::test]
async fn a_silent_bucket_keeps_nobody_waiting_for_long() {
    let place = Place::new("silent/").await;
    let (path, ..) = place.evicted("a marsh").await;
    place.faults.inject("GET", Fault::Hang);
    let unknown: Vec<String> = (0..40u8).map(|n| format!("/images/{}", PictureId::of(&[n]))).collect();
    let asked = join_all(unknown.iter().chain([&path]).map(|path| place.house.get(path)));
    for answer in asked.await {
        answer.error(503, "unavailable");
    }
    // Those that came when it was known to be away did not ask it.
    let asked = place.faults.count("GET", "");
    assert!(asked < 41, "{asked}");
}

#[tokio::test]
async fn a_download_that_breaks_goes_on_where_it_broke() {
    let place = Place::new("resume/").await;
    let (path, id, bytes) = place.evicted("a glacier").await;
    place.faults.inject_times(1, "GET", Fault::CutAfter(bytes.len() / 2));
    assert_eq!(place.house.get(&path).await.body, bytes);
    until("the file", || place.file(id).exists()).await;
    assert_eq!(place.faults.count("GET", ".png"), 2);
}

/// Regression 10.9: who asked again while the record was still being put right was told that the archive is away.
#[tokio::test]
async fn a_wrong_picture_from_the_archive_is_never_served_whole_nor_kept() {
    let place = Place::new("wrong/").await;
    let (path, id, bytes) = place.evicted("a canyon").await;
    place.faults.inject("GET", Fault::FlipDownload(bytes.len() / 2));
    let mut wire = wire::Wire::to(&place.house).await;
    wire.send(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
    let received = wire.rest().await;
    let head = String::from_utf8_lossy(&received[..200]).to_lowercase();
    assert!(head.starts_with("http/1.1 200"), "{head}");
    let body = received.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    assert!(received.len() - body < bytes.len(), "the last byte is held back");
    assert!(!place.file(id).exists());
    place.faults.heal();
    assert_eq!(place.house.get(&path).await.body, bytes);
}

#[tokio::test]
async fn while_the_archive_is_away_only_what_is_not_here_is_missing() {
    let place = Place::new("503/").await;
    let (evicted, ..) = place.evicted("a volcano").await;
    let (here, _, bytes) = place.picture("an island").await;
    place.faults.inject("GET", Fault::Answer(503, "SlowDown"));
    let answer = place.house.get(&evicted).await;
    answer.error(503, "unavailable");
    assert_eq!(answer.header("retry-after"), "5");
    let nobodys = format!("/images/{}", PictureId::of(b"nobody's"));
    assert_eq!(place.house.get(&nobodys).await.status, 503, "only the archive could tell");
    assert_eq!(place.house.get(&here).await.body, bytes);
    place.picture("made meanwhile").await;
}

#[tokio::test]
async fn a_full_disk_lets_archived_pictures_pass_through_memory() {
    let place = Place::new("full/").await;
    let (path, id, bytes) = place.evicted("a desert").await;
    let faults = Arc::clone(&place.faults);
    let store = "store: { durability: process, min_free: 900000GiB }";
    let full = Place::at(faults, "full/", &[&line("full/", ""), store]).await;
    let range = full.house.send(Method::GET, &path, &[("range", "bytes=-10")], "").await;
    assert_eq!((range.status.as_u16(), &range.body[..]), (206, &bytes[bytes.len() - 10..]));
    assert_eq!(full.house.get(&path).await.body, bytes);
    assert!(!full.file(id).exists());
}

#[tokio::test]
async fn clients_can_be_sent_to_the_bucket() {
    let place = Place::with("presigned/", "redirect: presigned").await;
    let (path, id, bytes) = place.evicted("a forest").await;
    let answer = place.house.get(&path).await;
    assert_eq!(answer.status, 302);
    assert_eq!(answer.header("cache-control"), "private, max-age=300");
    assert_eq!(place.house.get(answer.header("location")).await.body, bytes);
    assert!(!place.file(id).exists());

    let place = Place::with("a public/", "redirect: public, public_url: \"https://cdn.example/pics\"").await;
    let (path, id, _) = place.evicted("a river").await;
    let answer = place.house.get(&path).await;
    assert_eq!(answer.header("location"), format!("https://cdn.example/pics/a%20public/{id}.png"));
}

#[tokio::test]
async fn a_server_that_stops_and_comes_back_gets_everything() {
    let mut server = Seaweed::own().await;
    let faults = Arc::new(Faults::before(server.addr()).await);
    let place = Place::at(faults, "outage/", &[&line("outage/", "")]).await;
    let archiver = place.archiver();
    let rounds = tokio::spawn({
        let archiver = Arc::clone(&archiver);
        async move {
            loop {
                archiver.round().await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    });
    let archived = || place.house.metric("picgate_archived_total");
    let mut made = Vec::new();
    for n in 0..5 {
        made.push(place.picture(&format!("before {n}")).await);
    }
    until("the first five", || archived() == 5).await;
    server.stop();
    for n in 0..20 {
        made.push(place.picture(&format!("meanwhile {n}")).await);
    }
    assert_eq!(archived(), 5);
    server.start().await;
    let start = Instant::now();
    while archived() < 25 {
        assert!(start.elapsed() < PATIENCE, "{} of 25", archived());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    rounds.abort();
    let bucket = place.bucket();
    for (_, id, bytes) in &made {
        assert_eq!(read(&bucket, *id).await.unwrap(), *bytes);
    }
    // All local copies go; everything is served again, one download each.
    let store = &place.house.gateway.core().store;
    for (_, id, _) in &made {
        assert!(store.evict(*id).await.unwrap().is_some());
    }
    let before = place.faults.count("GET", ".png");
    let asked = join_all(made.iter().flat_map(|made| [made; 4]).map(async |(path, _, bytes)| {
        assert_eq!(place.house.get(path).await.body, *bytes);
    }));
    asked.await;
    assert_eq!(place.faults.count("GET", ".png") - before, made.len());
}

#[tokio::test]
async fn an_archived_picture_comes_back_for_its_variants_and_they_go_with_it() {
    let place = Place::new("variants/").await;
    let (path, id, _) = place.evicted("a canyon size:640x480").await;
    let small = |answer: crate::harness::Answer| {
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(image::load_from_memory(&answer.body).unwrap().width(), 256);
        answer.body
    };
    let made = small(place.house.get(&format!("{path}?w=256")).await);
    assert!(place.file(id).exists(), "the picture came back for it");
    place.faults.inject("GET", Fault::Answer(503, "SlowDown"));
    assert_eq!(small(place.house.get(&format!("{path}?w=256")).await), made, "both are here");
    assert!(place.house.gateway.core().store.evict(id).await.unwrap().is_some());
    assert_eq!(variants::kept(&place.house), 0);
    place.house.get(&format!("{path}?w=256")).await.error(503, "unavailable");
    place.faults.heal();
    assert_eq!(small(place.house.get(&format!("{path}?w=256")).await), made, "and it comes back again");

    // A machine without room: the picture passes through memory, the variant is answered and not kept.
    let store = "store: { durability: process, min_free: 900000GiB }";
    let full = Place::at(Arc::clone(&place.faults), "variants/", &[&line("variants/", ""), store]).await;
    small(full.house.get(&format!("{path}?w=256")).await);
    assert!(!full.file(id).exists() && !full.house.data_dir().join("variants").exists());
}

#[tokio::test]
async fn nobody_is_sent_from_a_signed_url_to_one_that_never_ends() {
    let redirect = "redirect: public, public_url: \"https://cdn.example/pics\"";
    let faults = Arc::new(Faults::before(Seaweed::shared().await.addr()).await);
    let place = Place::at(faults, "signed/", &[&line("signed/", redirect), "images: { access: signed }"]).await;
    let (path, _, bytes) = place.evicted("a valley").await;
    assert_eq!(place.house.get(&path).await.body, bytes);
}

/// Regression 10.10: with seconds left of a signed URL, its redirect was kept for minutes and led to a URL good for an hour.
#[tokio::test]
async fn a_presigned_redirect_ends_with_the_signature() {
    let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap().as_secs();
    let faults = Arc::new(Faults::before(Seaweed::shared().await.addr()).await);
    let prefix = "short/";
    for (ttl, longest_kept, longest_url) in [("60s", 120, 120), ("20m", 300, 2400), ("7d", 300, 3600)] {
        let images = format!("images: {{ access: signed, url_ttl: {ttl} }}");
        let place = Place::at(Arc::clone(&faults), prefix, &[&line(prefix, "redirect: presigned"), &images]).await;
        let (_, id, bytes) = place.evicted(&format!("a lake {ttl}")).await;
        let core = place.house.gateway.core();
        let signed = core.settings().links.url(&id, Format::Png);
        let end: u64 = parameter(&signed, "exp").parse().unwrap();

        let before = SystemTime::now();
        let answer = place.house.get(&signed).await;
        assert_eq!(answer.status, 302, "{ttl}");
        let left = end - seconds(before);
        let kept = answer.header("cache-control").strip_prefix("private, max-age=").unwrap().parse::<u64>().unwrap();
        assert!(kept > 0 && kept <= left.min(longest_kept), "{ttl}: {kept} of {left}");
        let location = answer.header("location");
        let good_for: u64 = parameter(location, "X-Amz-Expires").parse().unwrap();
        assert!(good_for >= kept && good_for <= left.min(longest_url), "{ttl}: {good_for} of {left}");
        assert_eq!(place.house.get(location).await.body, bytes);
    }
}

/// A parameter of a URL's query.
fn parameter(url: &str, name: &str) -> String {
    let url = url::Url::parse(url).unwrap();
    url.query_pairs().find(|(key, _)| key == name).unwrap_or_else(|| panic!("no {name} in {url}")).1.into_owned()
}

/// `make torture`. How long the bucket is away: `PICGATE_OUTAGE_SECONDS`, 120 if not set.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes"]
async fn minutes_without_the_bucket_under_load() {
    let away: u64 = std::env::var("PICGATE_OUTAGE_SECONDS").map_or(120, |text| text.parse().unwrap());
    let mut server = Seaweed::own().await;
    let faults = Arc::new(Faults::before(server.addr()).await);
    let place = Arc::new(Place::at(faults, "minutes/", &[&line("minutes/", "")]).await);
    let archiver = place.archiver();
    tokio::spawn(async move {
        loop {
            archiver.round().await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    server.stop();
    let end = Instant::now() + Duration::from_secs(away);
    let clients: Vec<_> = (0..16)
        .map(|client| {
            let place = Arc::clone(&place);
            tokio::spawn(async move {
                let mut made = Vec::new();
                while Instant::now() < end {
                    let prompt = format!("size:64x64 client {client}, number {}", made.len());
                    let answer = place.house.generate(json!({ "prompt": prompt })).await.ok();
                    made.push(answer["data"][0]["url"].as_str().unwrap().to_owned());
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                made
            })
        })
        .collect();
    let mut made = Vec::new();
    for client in clients {
        made.extend(client.await.unwrap());
    }
    made.sort();
    made.dedup();
    let archived = || place.house.metric("picgate_archived_total");
    assert_eq!(archived(), 0);
    server.start().await;
    while archived() == 0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (start, first) = (Instant::now(), archived());
    while archived() < made.len() as u64 {
        assert!(start.elapsed() < Duration::from_secs(600), "{} of {}", archived(), made.len());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let took = start.elapsed();
    let rate = (made.len() as u64 - first) as f64 / took.as_secs_f64();
    println!("{} pictures made in {away} s without the bucket; drained in {took:.1?}, {rate:.0} a second", made.len());
    let puts = place.faults.count("PUT", ".png");
    let bucket = place.bucket();
    let mut found = 0;
    for url in &made {
        let id: PictureId = url.rsplit('/').next().unwrap().split('.').next().unwrap().parse().unwrap();
        let bytes = read(&bucket, id).await.unwrap();
        assert_eq!(PictureId::of(&bytes), id);
        found += 1;
    }
    println!("{found} found whole in the bucket, {puts} puts that reached a server or not");
    assert!(rate >= 50.0, "{rate:.0} a second");
    assert!(puts * 10 <= made.len() * 12, "{puts} puts for {} pictures", made.len());
}
