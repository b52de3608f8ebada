//! Objects in a directory.

mod promises;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use belljar_objects::{Key, Objects, ObjectsConfig, ObjectsError};
use belljar_protocol::{Durability, Explain as _};
use futures::TryStreamExt;

struct Place {
    folder: tempfile::TempDir,
    objects: Objects,
}

fn place() -> Place {
    let folder = tempfile::tempdir().unwrap();
    let objects = open(&folder.path().join("objects"));
    Place { folder, objects }
}

fn open(path: &Path) -> Objects {
    Objects::open(&ObjectsConfig::Directory {
        path: path.to_owned(),
        durability: Durability::Process,
    })
    .unwrap()
}

impl Place {
    fn path(&self) -> PathBuf {
        self.folder.path().join("objects")
    }

    fn staged(&self) -> usize {
        fs::read_dir(self.path().join(".staging")).unwrap().count()
    }
}

#[tokio::test]
async fn the_storage_is_ready() {
    promises::the_storage_is_ready(&place().objects).await;
}

#[tokio::test]
async fn written_content_is_read_back() {
    promises::written_content_is_read_back(&place().objects).await;
}

#[tokio::test]
async fn written_content_is_read_back_if_it_is_synced_to_disk() {
    let folder = tempfile::tempdir().unwrap();
    let config = ObjectsConfig::Directory {
        path: folder.path().join("objects"),
        durability: Durability::Disk,
    };
    promises::written_content_is_read_back(&Objects::open(&config).unwrap()).await;
}

#[tokio::test]
async fn ranges_are_exact() {
    promises::ranges_are_exact(&place().objects).await;
}

#[tokio::test]
async fn missing_content_is_not_found_and_can_be_deleted() {
    promises::missing_content_is_not_found_and_can_be_deleted(&place().objects).await;
}

#[tokio::test]
async fn a_listing_has_each_key_of_a_project_once() {
    promises::a_listing_has_each_key_of_a_project_once(&place().objects).await;
}

#[tokio::test]
async fn a_listing_of_thousands_is_complete() {
    let place = place();
    let project = place.path().join("prj_many");
    fs::create_dir(&project).unwrap();
    for _ in 0..2500 {
        fs::write(place.path().join(Key::new("prj_many").unwrap().as_str()), "x").unwrap();
    }
    fs::write(project.join("not-a-key"), "x").unwrap();
    let listed: Vec<_> = place.objects.list(None).try_collect().await.unwrap();
    assert_eq!(listed.len(), 2500);
}

#[tokio::test]
async fn a_failed_upload_leaves_nothing() {
    let place = place();
    promises::a_failed_upload_leaves_nothing(&place.objects, || async { place.staged() }).await;
}

#[tokio::test]
async fn a_dropped_upload_leaves_nothing() {
    let place = place();
    promises::a_dropped_upload_leaves_nothing(&place.objects, || async { place.staged() }).await;
}

#[tokio::test]
async fn nothing_can_be_read_before_it_is_complete() {
    promises::nothing_can_be_read_before_it_is_complete(&place().objects).await;
}

#[tokio::test]
async fn a_reader_that_has_started_can_finish_after_a_deletion() {
    promises::a_reader_that_has_started_can_finish_after_a_deletion(&place().objects).await;
}

#[tokio::test]
async fn files_of_killed_uploads_are_removed_and_those_of_running_ones_are_not() {
    let place = place();
    let staging = place.path().join(".staging");
    let left_behind = staging.join("left-behind");
    fs::write(&left_behind, "half").unwrap();
    let written = fs::File::create(staging.join("written")).unwrap();
    written.try_lock().unwrap();
    open(&place.path());
    assert!(!left_behind.exists());
    assert!(staging.join("written").exists());
}

#[tokio::test]
async fn no_other_user_can_read_the_content() {
    let place = place();
    let stored = promises::put(&place.objects, "prj_a", b"private").await;
    let mode = |path: PathBuf| fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(place.path()), 0o700);
    assert_eq!(mode(place.path().join(".staging")), 0o700);
    assert_eq!(mode(place.path().join("prj_a")), 0o700);
    assert_eq!(mode(place.path().join(stored.key.as_str())), 0o600);
}

#[tokio::test]
async fn no_link_is_followed() {
    let place = place();
    let elsewhere = tempfile::tempdir().unwrap();
    let key = Key::new("prj_link").unwrap();
    let secret = elsewhere.path().join(key.as_str().split_once('/').unwrap().1);
    fs::write(&secret, "secret").unwrap();
    // The folder of the project is a link. Further below, the content is one.
    symlink(elsewhere.path(), place.path().join("prj_link")).unwrap();
    assert_eq!(
        fs::read_to_string(place.path().join(key.as_str())).unwrap(),
        "secret",
        "the attack would work without the check"
    );
    assert!(matches!(place.objects.get(&key, None).await, Err(ObjectsError::Folder { .. })));
    assert!(place.objects.delete(&key).await.is_err());
    assert!(place.objects.put(&key, promises::body(b"new"), 100).await.is_err());
    assert_eq!(place.staged(), 0);
    fs::remove_file(place.path().join("prj_link")).unwrap();

    fs::create_dir(place.path().join("prj_link")).unwrap();
    symlink(&secret, place.path().join(key.as_str())).unwrap();
    assert!(matches!(place.objects.get(&key, None).await, Err(ObjectsError::Folder { .. })));
    let listed: Vec<_> = place.objects.list(None).try_collect().await.unwrap();
    assert_eq!(listed, []);
    assert_eq!(fs::read_to_string(&secret).unwrap(), "secret");
}

#[tokio::test]
async fn an_unusable_folder_is_named_with_a_hint() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, "").unwrap();
    let error = Objects::open(&ObjectsConfig::Directory {
        path: path.clone(),
        durability: Durability::Process,
    })
    .unwrap_err();
    assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    assert!(error.hint().unwrap().contains("make it a folder"), "{error:?}");
}

#[test]
fn unknown_fields_of_the_configuration_are_refused_by_name() {
    let error = serde_json::from_str::<ObjectsConfig>(
        r#"{"kind": "directory", "path": "/x", "sync": true}"#,
    )
    .unwrap_err()
    .to_string();
    assert!(error.contains("sync"), "{error}");
}
