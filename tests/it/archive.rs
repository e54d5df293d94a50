//! The archive's bucket, against a real S3 service and an unreliable one.

use std::{
    io::Write as _,
    sync::Arc,
    time::{Duration, Instant, UNIX_EPOCH},
};

use futures_util::TryStreamExt as _;
use http::StatusCode;
use picgate::{
    archive::{ArchiveError, Bucket, Facts, Found, Limits, Meta, Outcome, Source, What},
    config::{Archive, Secret},
    picture::{Format, PictureId},
};

use crate::{
    harness::{
        faults::{Fault, Faults},
        seaweed::{ACCESS_KEY, SECRET_KEY, Seaweed, archive_at, impatient},
        sha256,
    },
    process::{client, free_port, picgate, run},
};

const MIB: usize = 1024 * 1024;

/// So many bytes that differ from place to place, and from seed to seed.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..len).map(|_| next()).collect()
}

fn file(bytes: &[u8]) -> Source {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    Source::file(Arc::new(file), bytes.len() as u64)
}

fn meta() -> Meta {
    Meta { created: UNIX_EPOCH + Duration::from_millis(1_700_000_000_123), model: Some("通义/image 1".to_owned()) }
}

/// Puts these bytes as a PNG.
async fn put(bucket: &Bucket, bytes: &[u8]) -> Result<PictureId, ArchiveError> {
    let id = PictureId::of(bytes);
    bucket.put_picture(id, Format::Png, &file(bytes), &meta()).await?;
    Ok(id)
}

async fn read(bucket: &Bucket, id: PictureId) -> Result<Vec<u8>, ArchiveError> {
    let download = bucket.open(id, Format::Png, None).await?;
    let pieces: Vec<_> = download.into_stream().try_collect().await?;
    Ok(pieces.concat())
}

async fn listed(bucket: &Bucket, after: Option<PictureId>) -> Vec<Found> {
    bucket.list(after).await.unwrap().try_collect().await.unwrap()
}

/// A bucket behind faults, with limits that suit a test.
async fn faulty(prefix: &str, limits: Limits) -> (Faults, Bucket) {
    let faults = Faults::before(Seaweed::shared().await.addr()).await;
    let bucket = Bucket::with_limits(&archive_at(faults.addr(), prefix), limits).unwrap();
    (faults, bucket)
}

#[tokio::test]
async fn a_picture_goes_there_and_back_with_its_facts() {
    let bucket = Seaweed::shared().await.bucket("round trip/");
    for len in [0, 1, 300 * 1024, 3 * MIB] {
        let bytes = noise(len as u64, len);
        let id = put(&bucket, &bytes).await.unwrap();
        // Again: an object that is there is no obstacle.
        assert_eq!(put(&bucket, &bytes).await.unwrap(), id);
        assert!(read(&bucket, id).await.unwrap() == bytes);
        let Facts { bytes: size, content_type, etag, metadata } = bucket.head(id, Format::Png).await.unwrap();
        assert_eq!((size, content_type.as_deref()), (len as u64, Some("image/png")));
        assert_eq!(etag.unwrap().len(), 32);
        assert_eq!(metadata["sha256"], sha256(&bytes));
        assert_eq!(metadata["created"], "1700000000123");
        assert_eq!(metadata["model"], "%E9%80%9A%E4%B9%89/image%201");
    }
}

#[tokio::test]
async fn a_range_of_a_picture_is_read_alone() {
    let bucket = Seaweed::shared().await.bucket("ranges/");
    let bytes = noise(7, 100_000);
    let id = put(&bucket, &bytes).await.unwrap();
    for range in [0..1, 10..20, 99_999..100_000, 5..99_999] {
        let mut download = bucket.open(id, Format::Png, Some(range.clone())).await.unwrap();
        assert_eq!((download.length(), download.total()), (range.end - range.start, 100_000));
        let mut got = Vec::new();
        while let Some(piece) = download.piece().await.unwrap() {
            got.extend_from_slice(&piece);
        }
        assert!(got == bytes[range.start as usize..range.end as usize]);
    }
    let behind = bucket.open(id, Format::Png, Some(100_000..100_001)).await;
    assert!(matches!(&behind, Err(ArchiveError::Refused(said)) if said.status == Some(416)), "{behind:?}");
}

#[tokio::test]
async fn a_long_picture_goes_in_parts_and_arrives_whole() {
    let (faults, bucket) = faulty("parts/", Limits { whole: 6 << 20, part: 5 << 20, ..Limits::default() }).await;
    let bytes = noise(1, 12 * MIB + 5);
    let id = put(&bucket, &bytes).await.unwrap();
    let name = format!("{id}.png");
    assert_eq!((faults.count("PUT", &name), faults.count("POST", &name)), (3, 2), "three parts, begun and completed");
    assert_eq!(faults.count("GET", &name), 0, "the ETag was proof enough");
    assert!(read(&bucket, id).await.unwrap() == bytes);
    let facts = bucket.head(id, Format::Png).await.unwrap();
    assert_eq!((facts.content_type.as_deref(), facts.bytes), (Some("image/png"), bytes.len() as u64));
    assert_eq!(facts.metadata["sha256"], sha256(&bytes));
}

#[tokio::test]
async fn records_go_there_and_back() {
    let bucket = Seaweed::shared().await.bucket("records/");
    let id = PictureId::of(b"a record");
    assert!(matches!(bucket.get_record(id).await, Err(ArchiveError::Missing)));
    bucket.put_record(id, r#"{"v":1}"#).await.unwrap();
    bucket.put_record(id, r#"{"v":1,"prompt":"é"}"#).await.unwrap();
    assert_eq!(bucket.get_record(id).await.unwrap(), r#"{"v":1,"prompt":"é"}"#);
}

#[tokio::test]
async fn what_is_not_there_is_missing_and_may_be_deleted() {
    let bucket = Seaweed::shared().await.bucket("missing/");
    let id = PictureId::of(b"never put");
    assert!(matches!(bucket.head(id, Format::Png).await, Err(ArchiveError::Missing)));
    assert!(matches!(bucket.open(id, Format::Png, None).await, Err(ArchiveError::Missing)));
    bucket.delete(id, Format::Png).await.unwrap();

    let id = put(&bucket, b"to be deleted").await.unwrap();
    bucket.put_record(id, "{}").await.unwrap();
    bucket.delete(id, Format::Png).await.unwrap();
    assert!(matches!(bucket.head(id, Format::Png).await, Err(ArchiveError::Missing)));
    assert!(matches!(bucket.get_record(id).await, Err(ArchiveError::Missing)));
    assert_eq!(listed(&bucket, None).await, []);
}

#[tokio::test]
async fn a_listing_holds_what_is_ours_in_order() {
    let server = Seaweed::shared().await;
    let bucket = server.bucket("list/a");
    let mut ids = Vec::new();
    for text in ["1", "22", "333"] {
        ids.push(put(&bucket, text.as_bytes()).await.unwrap());
    }
    bucket.put_record(ids[1], "{}").await.unwrap();
    // Under prefixes that begin the same: folders and longer names.
    for neighbour in ["list/a/", "list/ab", "list/", "list/A"] {
        put(&server.bucket(neighbour), b"another's").await.unwrap();
    }
    ids.sort();
    let found = listed(&bucket, None).await;
    assert_eq!(found.iter().filter(|found| found.what == What::Picture(Format::Png)).count(), 3, "{found:?}");
    assert_eq!(found.iter().filter(|found| found.what == What::Record).count(), 1, "{found:?}");
    assert!(found.is_sorted_by_key(|found| found.id));
    let sizes = |id| found.iter().filter(move |found| found.id == id).map(|found| found.bytes).sum::<u64>();
    assert_eq!(ids.iter().map(|id| sizes(*id)).sum::<u64>(), 1 + 2 + 3 + 2);
    for (n, after) in ids.iter().enumerate() {
        let later = listed(&bucket, Some(*after)).await;
        assert!(later.iter().all(|found| found.id > *after));
        assert_eq!(later.len(), found.iter().filter(|found| found.id > *after).count(), "{n}");
    }
}

#[tokio::test]
async fn a_prefix_is_taken_as_it_is_written() {
    let server = Seaweed::shared().await;
    for prefix in ["plain", "a/b/c/", "with space/", "ünï/通义/", "a+b=c&d;e,f@g!$'()*~/", "100%/%41%2f/", "q?x#y/"]
    {
        let bucket = server.bucket(prefix);
        let bytes = noise(prefix.len() as u64, 1000);
        let id = put(&bucket, &bytes).await.unwrap_or_else(|error| panic!("{prefix}: {error}"));
        bucket.put_record(id, "{}").await.unwrap();
        assert!(read(&bucket, id).await.unwrap() == bytes, "{prefix}");
        assert_eq!(listed(&bucket, None).await.len(), 2, "{prefix}");
        bucket.delete(id, Format::Png).await.unwrap();
        assert_eq!(listed(&bucket, None).await, [], "{prefix}");
    }
}

#[tokio::test]
async fn a_presigned_url_needs_no_key_and_only_serves_its_picture() {
    let bucket = Seaweed::shared().await.bucket("presigned/");
    let bytes = noise(3, 5000);
    let id = put(&bucket, &bytes).await.unwrap();
    let other = put(&bucket, b"another").await.unwrap();
    let url = bucket.presign_get(id, Format::Png, Duration::from_secs(60)).await.unwrap();
    let answer = client().get(&url).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["content-type"], "image/png");
    assert!(answer.bytes().await.unwrap() == bytes);
    let forged = url.replace(&id.to_string(), &other.to_string());
    assert_eq!(client().get(forged).send().await.unwrap().status(), StatusCode::FORBIDDEN);
    assert!(!url.contains(SECRET_KEY));
}

/// Every operation that asks the bucket for something.
async fn every_error(archive: &Archive, limits: Limits) -> Vec<ArchiveError> {
    let bucket = Bucket::with_limits(archive, limits).unwrap();
    let id = PictureId::of(b"x");
    let list = async { bucket.list(None).await.unwrap().try_collect::<Vec<_>>().await.unwrap_err() };
    vec![
        put(&bucket, b"x").await.unwrap_err(),
        bucket.put_record(id, "{}").await.unwrap_err(),
        bucket.get_record(id).await.unwrap_err(),
        bucket.head(id, Format::Png).await.unwrap_err(),
        bucket.open(id, Format::Png, None).await.unwrap_err(),
        bucket.delete(id, Format::Png).await.unwrap_err(),
        list.await,
    ]
}

#[tokio::test]
async fn wrong_credentials_are_denied_and_do_not_show() {
    let right = Seaweed::shared().await.archive("denied/");
    let cases = [
        Archive { secret_access_key: Secret::new("wrong-secret"), ..right.clone() },
        Archive { access_key_id: Secret::new("unknown-key-id"), ..right },
    ];
    for archive in &cases {
        for error in every_error(archive, Limits::default()).await {
            assert!(matches!(error, ArchiveError::Denied(_)), "{error:?}");
            assert!(!error.is_temporary());
            let shown = format!("{error} {error:?}");
            for secret in ["wrong-secret", "unknown-key-id", ACCESS_KEY, SECRET_KEY, "X-Amz"] {
                assert!(!shown.contains(secret), "{shown}");
            }
        }
        let shown = format!("{:?}", Bucket::new(archive).unwrap());
        assert!(!shown.contains("wrong-secret") && !shown.contains("unknown-key-id"), "{shown}");
    }
}

#[tokio::test]
async fn a_service_that_is_not_there_is_unreachable() {
    let archive = archive_at(([127, 0, 0, 1], free_port()).into(), "nobody/");
    for error in every_error(&archive, Limits::default()).await {
        assert!(matches!(error, ArchiveError::Unreachable(_)) && error.is_temporary(), "{error:?}");
        assert!(!error.to_string().contains("nobody/"), "{error}");
    }
}

#[tokio::test]
async fn a_silent_service_is_given_up_after_the_idle_time() {
    let (faults, _) = faulty("silent/", impatient()).await;
    let limits = Limits { idle: Duration::from_millis(100), ..impatient() };
    for method in ["PUT", "GET", "HEAD", "DELETE"] {
        faults.inject(method, Fault::Hang);
    }
    for error in every_error(&archive_at(faults.addr(), "silent/"), limits).await {
        assert!(matches!(error, ArchiveError::Timeout(_)) && error.is_temporary(), "{error:?}");
    }
}

#[tokio::test]
async fn an_upload_that_stops_moving_is_given_up() {
    let (faults, bucket) = faulty("stuck/", impatient()).await;
    faults.inject("PUT", Fault::StopReading(100_000));
    let error = put(&bucket, &noise(1, 14 * MIB)).await.unwrap_err();
    assert!(matches!(error, ArchiveError::Timeout(_)), "{error:?}");
}

#[tokio::test]
async fn a_slow_upload_that_moves_is_waited_for() {
    let limits = impatient();
    let (faults, bucket) = faulty("slow upload/", limits).await;
    faults.inject("PUT", Fault::SlowUpload(MIB, limits.idle / 4));
    let since = Instant::now();
    put(&bucket, &noise(1, 14 * MIB)).await.unwrap();
    assert!(since.elapsed() > 3 * limits.idle, "not slow enough to prove it");
}

#[tokio::test]
async fn a_slow_answer_that_moves_is_waited_for() {
    let (faults, bucket) = faulty("slow/", impatient()).await;
    let bytes = noise(1, 60_000);
    let id = put(&bucket, &bytes).await.unwrap();
    faults.inject("GET", Fault::Slow(1000, impatient().idle / 40));
    let since = Instant::now();
    assert!(read(&bucket, id).await.unwrap() == bytes);
    assert!(since.elapsed() > impatient().idle, "not slow enough to prove it");
}

#[tokio::test]
async fn the_first_bytes_are_there_before_the_last() {
    let (faults, bucket) = faulty("early/", impatient()).await;
    let bytes = noise(1, 500_000);
    let id = put(&Seaweed::shared().await.bucket("early/"), &bytes).await.unwrap();
    faults.inject("GET", Fault::HangAfter(1000));
    let mut download = bucket.open(id, Format::Png, None).await.unwrap();
    let mut got = Vec::new();
    let end = loop {
        match download.piece().await {
            Ok(Some(piece)) => got.extend_from_slice(&piece),
            end => break end,
        }
    };
    assert!(got == bytes[..1000]);
    assert!(matches!(end, Err(ArchiveError::Timeout(_))), "{end:?}");
}

#[tokio::test]
async fn an_answer_that_is_cut_is_an_error_and_not_an_end() {
    let (faults, bucket) = faulty("cut/", Limits::default()).await;
    let id = put(&bucket, &noise(1, 500_000)).await.unwrap();
    faults.inject("GET", Fault::CutAfter(200_000));
    let error = read(&bucket, id).await.unwrap_err();
    assert!(matches!(error, ArchiveError::Unreachable(_)), "{error:?}");
    faults.heal();
    assert_eq!(read(&bucket, id).await.unwrap().len(), 500_000);
}

#[tokio::test]
async fn trouble_of_the_service_is_told_by_meaning_and_tried_once() {
    let (faults, bucket) = faulty("busy/", Limits::default()).await;
    for (status, code) in [(503, "SlowDown"), (500, "InternalError"), (429, "TooManyRequests"), (502, "")] {
        faults.inject_times(1, "PUT", Fault::Answer(status, code));
        let bytes = noise(u64::from(status), 1000);
        let error = put(&bucket, &bytes).await.unwrap_err();
        assert!(matches!(error, ArchiveError::Busy(_)) && error.is_temporary(), "{error:?}");
        let name = format!("{}.png", PictureId::of(&bytes));
        assert_eq!(faults.count("PUT", &name), 1, "repeating is the caller's business");
        put(&bucket, &bytes).await.unwrap();
        assert_eq!(faults.count("PUT", &name), 2);
    }
    faults.inject("PUT", Fault::Answer(400, "InvalidArgument"));
    let error = put(&bucket, b"x").await.unwrap_err();
    assert!(matches!(error, ArchiveError::Refused(_)) && !error.is_temporary(), "{error:?}");
}

#[tokio::test]
async fn an_object_that_arrives_damaged_does_not_count() {
    let (faults, bucket) = faulty("damaged/", Limits { whole: 6 << 20, part: 5 << 20, ..Limits::default() }).await;
    // One piece: the service sees it by `Content-MD5`. Parts: we see it by the ETag, and by reading it back.
    for len in [300_000, 11 * MIB] {
        faults.inject_times(1, "PUT", Fault::FlipUpload(123_456));
        let error = put(&bucket, &noise(2, len)).await.unwrap_err();
        assert!(matches!(error, ArchiveError::Mismatch(_)) && error.is_temporary(), "{len}: {error:?}");
        put(&bucket, &noise(2, len)).await.unwrap();
    }
}

#[tokio::test]
async fn a_strange_etag_costs_a_download_and_no_more() {
    let (faults, bucket) = faulty("etags/", Limits::default()).await;
    for (n, etag) in ["\"opaque\"", "\"00000000000000000000000000000000\""].into_iter().enumerate() {
        faults.inject("HEAD", Fault::Etag(etag));
        let bytes = noise(n as u64, 300_000);
        let id = put(&bucket, &bytes).await.unwrap();
        assert_eq!(faults.count("GET", &format!("{id}.png")), 1);
        faults.inject_times(1, "GET", Fault::FlipDownload(299_999));
        let error = put(&bucket, &bytes).await.unwrap_err();
        assert!(matches!(error, ArchiveError::Mismatch(_)), "{error:?}");
        faults.heal();
    }
}

#[tokio::test]
async fn a_missing_bucket_is_not_a_missing_object() {
    let archive = Archive { bucket: "nobodys".to_owned(), ..Seaweed::shared().await.archive("") };
    let error = Bucket::new(&archive).unwrap().open(PictureId::of(b"x"), Format::Png, None).await.unwrap_err();
    assert_eq!(error.code(), Some("NoSuchBucket"), "{error:?}");
}

#[tokio::test]
async fn an_outage_ends_and_what_was_there_is_there() {
    let mut server = Seaweed::own().await;
    let bucket = server.bucket("outage/");
    let bytes = noise(9, 300_000);
    let id = put(&bucket, &bytes).await.unwrap();
    server.stop();
    let error = read(&bucket, id).await.unwrap_err();
    assert!(matches!(error, ArchiveError::Unreachable(_)), "{error:?}");
    server.start().await;
    assert!(read(&bucket, id).await.unwrap() == bytes);
}

#[tokio::test]
async fn a_probe_tells_every_step_and_leaves_nothing() {
    let server = Seaweed::shared().await;
    let bucket = server.bucket("probe/");
    let steps = bucket.probe().await;
    assert_eq!(steps.iter().map(|step| step.name).collect::<Vec<_>>(), ["list", "put", "head", "get", "delete"]);
    assert!(steps.iter().all(|step| step.is_done()), "{steps:?}");

    let (faults, bucket) = faulty("probe/", Limits::default()).await;
    faults.inject("PUT", Fault::Answer(403, "AccessDenied"));
    let steps = bucket.probe().await;
    assert!(steps[0].is_done() && steps[4].is_done(), "{steps:?}");
    assert!(matches!(steps[1].outcome, Outcome::Failed(ArchiveError::Denied(_))), "{steps:?}");
    assert!(steps[2..4].iter().all(|step| matches!(step.outcome, Outcome::Skipped)), "{steps:?}");
    assert!(steps[1].to_string().contains("needs to list, read, write and delete"), "{}", steps[1]);
}

/// A configuration file with this archive, and `picgate archive test` on it: exit code, stdout, stderr.
async fn archive_test(archive: Option<&Archive>) -> (Option<i32>, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("picgate.yaml");
    let archive = archive.map_or(String::new(), |archive| {
        format!(
            "  archive: {{ endpoint: \"{}\", bucket: {}, access_key_id: {}, secret_access_key: {}, prefix: \"{}\" }}\n",
            archive.endpoint,
            archive.bucket,
            archive.access_key_id.expose(),
            archive.secret_access_key.expose(),
            archive.prefix,
        )
    });
    let upstream = "  upstreams: [ { name: a, kind: openai, base_url: \"http://127.0.0.1:1\" } ]\n";
    std::fs::write(&path, format!("picgate:\n{upstream}{archive}")).unwrap();
    run(picgate(&["archive", "test", "-c", path.to_str().unwrap()])).await
}

#[tokio::test]
async fn the_command_tells_whether_the_archive_works() {
    let right = Seaweed::shared().await.archive("command/");
    let (code, said, errors) = archive_test(Some(&right)).await;
    assert_eq!(code, Some(0), "{said}{errors}");
    for step in ["list    ok", "put     ok", "head    ok", "get     ok", "delete  ok"] {
        assert!(said.contains(step), "{said}");
    }
    let (code, said, _) =
        archive_test(Some(&Archive { secret_access_key: Secret::new("wrong"), ..right.clone() })).await;
    assert_eq!(code, Some(1));
    assert!(said.contains("FAILED") && said.contains("archive.secret_access_key"), "{said}");
    assert!(!said.contains(ACCESS_KEY) && !said.contains(SECRET_KEY), "{said}");

    let (code, said, _) = archive_test(Some(&archive_at(([127, 0, 0, 1], free_port()).into(), ""))).await;
    assert_eq!(code, Some(1));
    assert!(said.contains("archive.endpoint") && said.contains("not tried"), "{said}");

    let (code, _, errors) = archive_test(None).await;
    assert_eq!(code, Some(1));
    assert!(errors.contains("there is no archive"), "{errors}");
}
