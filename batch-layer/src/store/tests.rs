use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::{GetOptions, GetRange, ObjectStoreExt, PutMode, PutOptions, PutPayload};

use super::*;
use object_store::Error as StoreError;
use object_store::path::Path;

/// What every store must do. One suite for all implementations.
async fn contract(store: &dyn ObjectStore) {
    puts_and_gets(store).await;
    lists(store).await;
    copies_and_renames(store).await;
    uploads_in_parts(store).await;
}

async fn puts_and_gets(store: &dyn ObjectStore) {
    let path = Path::from("readings/part=2013-03/a.parquet");
    let create = || PutOptions { mode: PutMode::Create, ..PutOptions::default() };
    store.put_opts(&path, "0123456789".into(), create()).await.expect("nothing is there");
    let again = store.put_opts(&path, "other".into(), create()).await;
    assert!(matches!(again, Err(StoreError::AlreadyExists { .. })), "{again:?}");
    assert_eq!(content(store, &path).await, "0123456789");
    assert_eq!(store.get_range(&path, 2..5).await.expect("inside"), "234");
    assert_eq!(store.get_ranges(&path, &[0..1, 8..10, 1..2]).await.expect("inside"), ["0", "89", "1"]);
    let suffix = GetOptions::new().with_range(Some(GetRange::Suffix(3)));
    assert_eq!(store.get_opts(&path, suffix).await.expect("there").bytes().await.expect("there"), "789");
    assert_eq!(store.head(&path).await.expect("there").size, 10);

    store.put(&path, "replaced".into()).await.expect("overwrites");
    assert_eq!(content(store, &path).await, "replaced");
    store.delete(&path).await.expect("there");
    assert!(matches!(store.get(&path).await, Err(StoreError::NotFound { .. })));
    assert!(matches!(store.head(&path).await, Err(StoreError::NotFound { .. })));
    store.put_opts(&path, PutPayload::default(), create()).await.expect("free again");
    assert_eq!(content(store, &path).await, "");
    store.delete(&path).await.expect("there");
}

async fn lists(store: &dyn ObjectStore) {
    for name in ["l/1/a", "l/1/b", "l/2/a", "l/c", "lm"] {
        store.put(&Path::from(name), "x".into()).await.expect(name);
    }
    let prefix = Path::from("l");
    assert_eq!(names(store.list(Some(&prefix))).await, ["l/1/a", "l/1/b", "l/2/a", "l/c"]);
    assert_eq!(names(store.list(None)).await, ["l/1/a", "l/1/b", "l/2/a", "l/c", "lm"]);
    assert_eq!(names(store.list_with_offset(Some(&prefix), &Path::from("l/1/b"))).await, ["l/2/a", "l/c"]);
    assert!(names(store.list(Some(&Path::from("nothing")))).await.is_empty());

    let listed = store.list_with_delimiter(Some(&prefix)).await.expect("lists");
    assert_eq!(listed.common_prefixes, [Path::from("l/1"), Path::from("l/2")]);
    assert_eq!(listed.objects.iter().map(|o| o.location.as_ref()).collect::<Vec<_>>(), ["l/c"]);

    let all: Vec<_> = ["l/1/a", "l/1/b", "l/2/a", "l/c", "lm"].into_iter().map(|p| Ok(Path::from(p))).collect();
    let deleted: Vec<Path> =
        store.delete_stream(futures::stream::iter(all).boxed()).try_collect().await.expect("all are there");
    assert_eq!(deleted.len(), 5);
    assert!(names(store.list(None)).await.is_empty());
}

async fn copies_and_renames(store: &dyn ObjectStore) {
    let [a, b, c] = ["a/x", "b/y", "c/z"].map(Path::from);
    store.put(&a, "one".into()).await.expect("puts");
    store.copy(&a, &b).await.expect("copies");
    assert_eq!((content(store, &a).await, content(store, &b).await), ("one".into(), "one".into()));
    store.put(&a, "two".into()).await.expect("puts");
    assert_eq!(content(store, &b).await, "one", "a copy is not the same object");
    assert!(matches!(store.copy_if_not_exists(&a, &b).await, Err(StoreError::AlreadyExists { .. })));
    store.copy(&a, &b).await.expect("overwrites");
    assert_eq!(content(store, &b).await, "two");

    store.put(&c, "three".into()).await.expect("puts");
    assert!(matches!(store.rename_if_not_exists(&a, &b).await, Err(StoreError::AlreadyExists { .. })));
    assert_eq!(content(store, &a).await, "two", "a refused rename moves nothing");
    store.rename(&c, &a).await.expect("overwrites");
    assert_eq!(content(store, &a).await, "three");
    assert!(matches!(store.get(&c).await, Err(StoreError::NotFound { .. })));
    store.rename_if_not_exists(&a, &c).await.expect("free");
    assert_eq!(names(store.list(None)).await, ["b/y", "c/z"]);

    let missing = Path::from("no/thing");
    assert!(matches!(store.copy(&missing, &a).await, Err(StoreError::NotFound { .. })));
    assert!(matches!(store.rename(&missing, &a).await, Err(StoreError::NotFound { .. })));
    for path in [b, c] {
        store.delete(&path).await.expect("there");
    }
}

async fn uploads_in_parts(store: &dyn ObjectStore) {
    let path = Path::from("u/parts");
    let mut upload = store.put_multipart(&path).await.expect("starts");
    // S3 takes no smaller ones but as the last.
    let large = |byte| vec![byte; 5 << 20];
    let parts = [large(b'a'), large(b'b'), b"third".to_vec()];
    let puts: Vec<_> = parts.iter().map(|part| upload.put_part(part.clone().into())).collect();
    futures::future::try_join_all(puts).await.expect("writes");
    assert!(matches!(store.get(&path).await, Err(StoreError::NotFound { .. })), "invisible until it is complete");
    upload.complete().await.expect("completes");
    assert!(content(store, &path).await == parts.concat(), "all parts in their order");

    let mut aborted = store.put_multipart(&Path::from("u/aborted")).await.expect("starts");
    aborted.put_part("lost".into()).await.expect("writes");
    aborted.abort().await.expect("aborts");
    assert_eq!(names(store.list(None)).await, ["u/parts"]);
    store.delete(&path).await.expect("there");
}

async fn content(store: &dyn ObjectStore, path: &Path) -> Bytes {
    store.get(path).await.expect("there").bytes().await.expect("readable")
}

async fn names(
    listed: futures::stream::BoxStream<'static, object_store::Result<object_store::ObjectMeta>>,
) -> Vec<String> {
    let mut names: Vec<String> = listed.map_ok(|meta| meta.location.to_string()).try_collect().await.expect("lists");
    names.sort();
    names
}

#[tokio::test]
async fn memory_keeps_the_contract() {
    contract(&*open("memory://").expect("opens")).await;
}

#[tokio::test]
async fn the_durable_directory_keeps_the_contract() {
    let dir = tempfile::tempdir().expect("a place");
    let root = dir.path().join("not/there/yet");
    contract(&*open(root.to_str().expect("text")).expect("opens")).await;
    assert!(root.join(".staging").read_dir().expect("exists").next().is_none(), "nothing stays behind");
    contract(&*open(&format!("file://{}", root.display())).expect("opens again")).await;
}

/// A server of S3 for tests; where it is not installed, the test says that it was skipped.
#[path = "../../../tests/src/s3.rs"]
#[expect(dead_code, unreachable_pub, reason = "it belongs to the end-to-end tests, which use the rest")]
mod server;
#[path = "../../../tests/src/skip.rs"]
#[expect(unreachable_pub, reason = "as above")]
mod skip;

fn bucket(server: &server::S3, url: &str) -> Store {
    let builder = object_store::aws::AmazonS3Builder::new()
        .with_endpoint(format!("http://{}", server.address))
        .with_allow_http(true)
        .with_access_key_id("test")
        .with_secret_access_key("test")
        // The program copies nothing; who does must say how this store tells that something is there.
        .with_copy_if_not_exists(object_store::aws::S3CopyIfNotExists::Multipart);
    s3::build(builder, url, &StoreFaults::default()).expect("opens")
}

#[tokio::test]
async fn a_bucket_keeps_the_contract() {
    let Some(server) = server::S3::start() else { return };
    for url in ["s3://weir", "s3://weir/some/prefix"] {
        contract(&*bucket(&server, url)).await;
    }
}

#[tokio::test]
async fn of_many_who_create_one_object_one_succeeds() {
    let Some(server) = server::S3::start() else { return };
    let dir = tempfile::tempdir().expect("a place");
    let local = open(dir.path().to_str().expect("text")).expect("opens");
    for store in [bucket(&server, "s3://weir"), local, open("memory://").expect("opens")] {
        let create = || PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let path = Path::from("one");
        let puts = (0..16).map(|i| store.put_opts(&path, format!("{i}").into(), create()));
        let won = futures::future::join_all(puts).await.iter().filter(|put| put.is_ok()).count();
        assert_eq!(won, 1, "{store}");
    }
}

#[tokio::test]
async fn staging_is_hidden_and_stale_files_go_when_it_is_opened() {
    let dir = tempfile::tempdir().expect("a place");
    let store = DurableLocal::open(dir.path()).expect("opens");
    let mut upload = store.put_multipart(&Path::from("a")).await.expect("starts");
    upload.put_part("living".into()).await.expect("writes");
    let stale = dir.path().join(".staging/0-0");
    std::fs::write(&stale, "left by the dead").expect("writes");
    for hidden in [Path::from(".staging/0-0"), Path::from(".staging")] {
        assert!(store.get(&hidden).await.is_err());
        assert!(store.put(&hidden, "x".into()).await.is_err());
    }
    assert!(names(store.list(None)).await.is_empty());
    assert!(names(store.list(Some(&Path::from(".staging")))).await.is_empty());
    assert!(store.list_with_delimiter(None).await.expect("lists").common_prefixes.is_empty());

    DurableLocal::open(dir.path()).expect("opens beside the first");
    assert!(!stale.exists());
    upload.complete().await.expect("an upload that goes on was left alone");
    assert_eq!(content(&store, &Path::from("a")).await, "living");
}

#[tokio::test]
async fn a_directory_that_was_removed_is_made_again() {
    let dir = tempfile::tempdir().expect("a place");
    let store = DurableLocal::open(dir.path()).expect("opens");
    store.put(&Path::from("d/a"), "x".into()).await.expect("puts");
    std::fs::remove_dir_all(dir.path().join("d")).expect("there");
    store.put(&Path::from("d/a"), "y".into()).await.expect("puts again");
    assert_eq!(content(&store, &Path::from("d/a")).await, "y");
}

#[test]
fn only_stores_that_exist_are_opened() {
    let dir = tempfile::tempdir().expect("a place");
    let (real, link) = (dir.path().join("real"), dir.path().join("link"));
    std::fs::create_dir(&real).expect("creates");
    std::os::unix::fs::symlink(&real, &link).expect("links");
    for refused in [link.to_str().expect("text"), "ftp://host/dir", "file://host/dir", "s3://", "s3:///prefix"] {
        assert!(matches!(open(refused), Err(Error::Refused(_))), "{refused}");
    }
}

#[test]
fn a_new_root_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().expect("a place");
    let root = dir.path().join("history");
    DurableLocal::open(&root).expect("opens");
    assert_eq!(root.metadata().expect("there").permissions().mode() & 0o777, 0o700);
}
