//! Pictures are deleted by who may.

use http::Method;
use picgate::{background::archiver::Archiver, store::IndexState};

use crate::{
    harness::{
        Answer, House, KEY,
        seaweed::{ACCESS_KEY, BUCKET, SECRET_KEY, Seaweed},
        until,
    },
    variants::kept,
};

const MAY: &str = "key-that-may-delete-0123";

async fn delete(house: &House, path: &str, key: Option<&str>) -> Answer {
    let header = format!("Bearer {}", key.unwrap_or_default());
    let headers = [("authorization", header.as_str())];
    house.send(Method::DELETE, path, &headers[..usize::from(key.is_some())], "").await
}

async fn house(lines: &[&str]) -> House {
    let builder = House::builder().key(&format!("{{ name: keeper, key: {MAY}, may_delete: true }}"));
    lines.iter().fold(builder, |builder, line| builder.line(line)).start().await
}

/// All files of pictures, records, tombstones and variants.
fn files(house: &House) -> usize {
    let shards = std::fs::read_dir(house.data_dir().join("images")).unwrap();
    let files = shards.flat_map(|shard| std::fs::read_dir(shard.unwrap().path()).unwrap());
    files.count() + kept(house)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_picture_leaves_no_trace() {
    let house = house(&[]).await;
    let (url, _) = house.picture("a lighthouse size:600x600").await;
    let path = url.strip_prefix(&house.origin()).unwrap();
    for _ in 0..3 {
        assert_eq!(house.get(path).await.status, 200, "now it is in memory, too");
    }
    assert_eq!(house.get(&format!("{path}?w=256")).await.status, 200);
    assert_eq!(files(&house), 3);

    delete(&house, path, None).await.error(401, "invalid_api_key");
    delete(&house, path, Some("sk-upstream")).await.error(401, "invalid_api_key");
    let refused = delete(&house, path, Some(KEY)).await;
    assert!(refused.error(403, "not_allowed").contains("may_delete"));
    assert_eq!(house.get(path).await.status, 200);

    let done = delete(&house, path, Some(MAY)).await;
    assert_eq!((done.status.as_u16(), done.body.len()), (204, 0));
    assert_eq!(files(&house), 0);
    house.get(path).await.error(404, "not_found");
    house.get(&format!("{path}?w=256")).await.error(404, "not_found");
    delete(&house, path, Some(MAY)).await.error(404, "not_found");
    delete(&house, "/images/none.png", Some(MAY)).await.error(404, "not_found");
    assert_eq!(files(&house), 0, "what was not there leaves no tombstone");

    let (again, _) = house.picture("a lighthouse size:600x600").await;
    assert_eq!(again, url, "made again, it is there again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_picture_goes_from_the_bucket_too() {
    let server = Seaweed::shared().await;
    let house = house(&[&format!(
        "archive: {{ endpoint: \"http://{}\", bucket: {BUCKET}, prefix: deletion/, access_key_id: {ACCESS_KEY}, \
         secret_access_key: {SECRET_KEY} }}",
        server.addr()
    )])
    .await;
    let core = house.gateway.core();
    until("the index", || core.store.index_state() == IndexState::Ready).await;
    let archiver = Archiver::new(core.store.clone(), server.bucket("deletion/"), core.metrics.clone());
    let (url, bytes) = house.picture("a harbour").await;
    let id = picgate::picture::PictureId::of(&bytes);
    core.store.index_settled().await;
    assert_eq!(archiver.round().await.archived, 1);
    assert!(core.store.evict(id).await.unwrap().is_some(), "now only the bucket has its bytes");

    let path = url.strip_prefix(&house.origin()).unwrap();
    assert_eq!(delete(&house, path, Some(MAY)).await.status, 204);
    house.get(path).await.error(404, "not_found");
    core.store.index_settled().await;
    assert_eq!(archiver.round().await.deleted, 1);
    assert!(!core.store.is_buried(id).await.unwrap());
    assert_eq!(files(&house), 0);
    house.get(path).await.error(404, "not_found");
}
