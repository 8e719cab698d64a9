use object_store::memory::InMemory;

use super::*;

fn objects() -> (Objects, Arc<InMemory>) {
    let store = Arc::new(InMemory::new());
    (Objects::new(Arc::clone(&store) as Arc<dyn ObjectStore>), store)
}

async fn put(objects: &Objects, bytes: &[u8]) -> Result<ObjectRef> {
    objects.put(ObjectKind::View, "2013-03", LogPosition(7), Bytes::copy_from_slice(bytes)).await
}

/// Bytes of a bit more than two blocks, no two blocks alike.
fn some_bytes() -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(7);
    (0..2 * BLOCK_BYTES + 1000).map(|_| random.u8(..)).collect()
}

#[tokio::test]
async fn what_was_put_is_got() {
    let (objects, _) = objects();
    for bytes in [&b""[..], b"a", &some_bytes()] {
        let object = put(&objects, bytes).await.expect("puts");
        assert_eq!(objects.get(&object).await.expect("gets"), bytes);
        objects.verify(&object).await.expect("verifies");
    }
    let mut listed = objects.list().await.expect("lists");
    listed.sort_by_key(|listed| listed.bytes);
    assert_eq!(listed.iter().map(|listed| listed.bytes).collect::<Vec<_>>(), [0, 1, 2 * BLOCK_BYTES + 1000]);
    for Listed { path, .. } in listed {
        assert!(path.starts_with("views/part=2013-03/0000000000000007-") && path.ends_with(".parquet"), "{path}");
        objects.delete(&path).await.expect("deletes");
        objects.delete(&path).await.expect("is gone already");
    }
    assert!(objects.list().await.expect("lists").is_empty());
}

#[tokio::test]
async fn a_put_may_be_repeated_and_mends_what_is_damaged() {
    let (objects, store) = objects();
    let first = put(&objects, b"content").await.expect("puts");
    assert_eq!(put(&objects, b"content").await.expect("the answer was lost, not the object"), first);
    for damaged in [&b"CONTENT"[..], b"", b"content and more"] {
        store.put(&Path::from(first.path.clone()), damaged.to_vec().into()).await.expect("someone writes there");
        assert!(matches!(objects.verify(&first).await, Err(Error::Corrupt { what, .. }) if what == first.path));
        assert_eq!(put(&objects, b"content").await.expect("mends"), first);
        assert_eq!(objects.get(&first).await.expect("whole"), b"content"[..]);
    }
}

#[tokio::test]
async fn ranges_are_verified_block_by_block() {
    let (objects, store) = objects();
    let bytes = some_bytes();
    let object = put(&objects, &bytes).await.expect("puts");
    let block = BLOCK_BYTES;
    let ends = [0, 1, block - 1, block, block + 1, 2 * block, 2 * block + 999, 2 * block + 1000];
    for start in ends {
        for end in ends.into_iter().filter(|end| *end >= start) {
            let got = objects.get_range(&object, start..end).await.expect("inside");
            assert_eq!(got, bytes[start as usize..end as usize], "{start}..{end}");
        }
    }
    let several = [5..9, 2 * block..2 * block + 5, 0..2, 3..3];
    let got = objects.get_ranges(&object, &several).await.expect("inside");
    assert!(got.iter().zip(&several).all(|(got, r)| got == &bytes[r.start as usize..r.end as usize]));
    assert!(objects.get_range(&object, 0..object.bytes + 1).await.is_err(), "beyond the end");

    let mut damaged = bytes.clone();
    damaged[block as usize + 5] ^= 1;
    store.put(&Path::from(object.path.clone()), damaged.into()).await.expect("damages");
    assert_eq!(objects.get_range(&object, 0..block).await.expect("the first block is whole"), bytes[..block as usize]);
    let error = objects.get_range(&object, block - 1..block + 1).await.expect_err("the second is not").to_string();
    assert!(error.contains(&object.path) && error.contains(&format!("byte {block}")), "{error}");
    assert!(objects.get(&object).await.is_err() && objects.verify(&object).await.is_err());
}

#[tokio::test]
async fn lost_and_shortened_objects_are_told_apart() {
    let dir = tempfile::tempdir().expect("a place");
    let stores = [crate::store::open("memory://"), crate::store::open(dir.path().to_str().expect("text"))];
    for store in stores.map(|s| s.expect("opens")) {
        let objects = Objects::new(Arc::clone(&store));
        let bytes = some_bytes();
        let object = put(&objects, &bytes).await.expect("puts");
        for length in [bytes.len() - 1, BLOCK_BYTES as usize, 1, 0] {
            store.put(&Path::from(object.path.clone()), bytes[..length].to_vec().into()).await.expect("cuts");
            let last = 2 * BLOCK_BYTES..object.bytes;
            for error in [objects.get(&object).await, objects.get_range(&object, last).await] {
                assert!(matches!(error, Err(Error::Corrupt { .. })), "{length}: {error:?}");
            }
        }
        objects.delete(&object.path).await.expect("deletes");
        for error in [objects.get(&object).await, objects.get_range(&object, 0..1).await] {
            assert!(matches!(&error, Err(Error::Corrupt { what, .. }) if *what == object.path), "{error:?}");
        }
    }
}
