//! Changes as editors, Kubernetes and users make them.
//!
//! That something is not reported is shown by a later change that is reported alone.

use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;

const QUIET: Duration = Duration::from_millis(30);

fn temp() -> (TempDir, PathBuf) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().canonicalize().unwrap();
    (dir, path)
}

fn watch(paths: &[&Path]) -> FileWatch {
    FileWatch::new(paths, QUIET).unwrap()
}

/// The next report; fails instead of hanging.
async fn changed(watch: &mut FileWatch) -> Vec<PathBuf> {
    let report = tokio::time::timeout(Duration::from_secs(20), watch.changed()).await;
    report.expect("a change is reported").into_iter().collect()
}

/// The files of the next report.
async fn files(watch: &mut FileWatch) -> Option<BTreeSet<PathBuf>> {
    let report = tokio::time::timeout(Duration::from_secs(20), watch.changes()).await;
    report.expect("a change is reported").files
}

fn only(path: &Path) -> Vec<PathBuf> {
    vec![path.to_owned()]
}

#[tokio::test]
async fn a_file_is_reported_when_written_renamed_over_removed_and_made_again() {
    let (_guard, dir) = temp();
    let file = dir.join("mesh");
    fs::write(&file, "1").unwrap();
    let mut watch = watch(&[&file]);

    fs::write(&file, "2").unwrap();
    assert_eq!(changed(&mut watch).await, only(&file), "written");
    fs::write(dir.join("mesh.tmp"), "3").unwrap();
    fs::rename(dir.join("mesh.tmp"), &file).unwrap();
    assert_eq!(changed(&mut watch).await, only(&file), "renamed over");
    fs::remove_file(&file).unwrap();
    assert_eq!(changed(&mut watch).await, only(&file), "removed");
    fs::write(&file, "4").unwrap();
    assert_eq!(changed(&mut watch).await, only(&file), "made again");
}

#[tokio::test]
async fn neighbours_and_readers_of_a_file_are_not_reported() {
    let (_guard, dir) = temp();
    let [first, second] = ["a", "b"].map(|name| dir.join(name));
    fs::write(&first, "1").unwrap();
    fs::write(&second, "1").unwrap();
    let mut watch = watch(&[&first, &second]);

    fs::write(dir.join("c"), "1").unwrap();
    assert_eq!(fs::read_to_string(&first).unwrap(), "1");
    fs::write(&second, "2").unwrap();
    assert_eq!(changed(&mut watch).await, only(&second));
}

#[tokio::test]
async fn a_directory_is_reported_for_everything_beneath_it() {
    let (_guard, dir) = temp();
    let mut watch = watch(&[&dir]);

    fs::write(dir.join("one.yaml"), "1").unwrap();
    assert_eq!(changed(&mut watch).await, only(&dir), "a file");
    fs::create_dir_all(dir.join("sub/deep")).unwrap();
    assert_eq!(changed(&mut watch).await, only(&dir), "directories");
    fs::write(dir.join("sub/deep/two.yaml"), "1").unwrap();
    assert_eq!(changed(&mut watch).await, only(&dir), "a file in a new directory");
    fs::remove_dir_all(dir.join("sub")).unwrap();
    assert_eq!(changed(&mut watch).await, only(&dir), "removal");
}

#[tokio::test]
async fn files_are_named_where_nothing_else_happens() {
    let (_guard, dir) = temp();
    let config = dir.join("config");
    fs::create_dir_all(config.join("sub")).unwrap();
    let [one, two, link] = ["one.yaml", "sub/two.yaml", "link.yaml"].map(|name| config.join(name));
    fs::write(&one, "1").unwrap();
    let mut watch = watch(&[&config]);
    let only = |paths: &[&PathBuf]| Some(paths.iter().map(|path| (*path).clone()).collect());

    fs::write(&one, "2").unwrap();
    fs::write(&two, "1").unwrap();
    fs::write(dir.join("neighbour"), "1").unwrap();
    assert_eq!(files(&mut watch).await, only(&[&one, &two]), "written");
    fs::rename(&two, &one).unwrap();
    assert_eq!(files(&mut watch).await, only(&[&one, &two]), "renamed over");
    fs::remove_file(&one).unwrap();
    assert_eq!(files(&mut watch).await, only(&[&one]), "removed");

    fs::create_dir(config.join("new")).unwrap();
    assert_eq!(files(&mut watch).await, None, "a directory");
    fs::remove_dir(config.join("new")).unwrap();
    assert_eq!(files(&mut watch).await, None, "which is gone");
    fs::remove_dir_all(&config).unwrap();
    assert_eq!(files(&mut watch).await, None, "all of it");
    fs::create_dir(&config).unwrap();
    assert_eq!(files(&mut watch).await, None, "and back");
    symlink(dir.join("neighbour"), &link).unwrap();
    assert_eq!(files(&mut watch).await, None, "a link");
    fs::write(&one, "3").unwrap();
    assert_eq!(files(&mut watch).await, None, "beside a link");
    fs::remove_file(&link).unwrap();
    assert_eq!(files(&mut watch).await, None, "which is gone");
    fs::write(&one, "4").unwrap();
    assert_eq!(files(&mut watch).await, only(&[&one]), "as before");
}

#[tokio::test]
async fn what_is_made_in_a_new_directory_right_after_its_report_is_reported() {
    let (_guard, dir) = temp();
    let mut watch = FileWatch::new([&dir], Duration::ZERO).unwrap();
    for round in 0..200 {
        let sub = dir.join(format!("sub-{round}"));
        fs::create_dir(&sub).unwrap();
        // The report of something earlier may come first.
        while !watch.watched.contains_key(&sub) {
            changed(&mut watch).await;
        }
        fs::write(sub.join("one.yaml"), "1").unwrap();
        changed(&mut watch).await;
    }
}

#[tokio::test]
async fn directories_behind_links_are_watched_once() {
    let (_guard, dir) = temp();
    let (config, outside) = (dir.join("config"), dir.join("outside"));
    fs::create_dir_all(config.join("sub")).unwrap();
    fs::create_dir_all(outside.join("deep")).unwrap();
    symlink("sub", config.join("inside")).unwrap();
    symlink(&config, config.join("sub/circle")).unwrap();
    symlink(&outside, config.join("link")).unwrap();
    let mut watch = watch(&[&config]);
    for place in ["sub", "inside", "link/deep"] {
        fs::write(config.join(place).join(place.replace('/', "-")), "1").unwrap();
        assert_eq!(changed(&mut watch).await, only(&config), "{place}");
    }
}

#[tokio::test]
async fn a_burst_is_one_report() {
    let (_guard, dir) = temp();
    let (config, marker) = (dir.join("config"), dir.join("marker"));
    fs::create_dir(&config).unwrap();
    let mut watch = watch(&[&config, &marker]);

    for number in 0..100 {
        fs::write(config.join(format!("{number}.yaml")), "1").unwrap();
    }
    assert_eq!(changed(&mut watch).await, only(&config));
    fs::write(&marker, "1").unwrap();
    assert_eq!(changed(&mut watch).await, only(&marker));
}

#[tokio::test]
async fn changes_that_do_not_stop_are_reported_all_the_same() {
    let (_guard, dir) = temp();
    let mut watch = watch(&[&dir]);
    let writing = async {
        for number in 0_u64.. {
            fs::write(dir.join("busy"), number.to_string()).unwrap();
            tokio::time::sleep(QUIET / 6).await;
        }
    };
    tokio::select! {
        report = changed(&mut watch) => assert_eq!(report, only(&dir)),
        () = writing => {}
    }
}

/// How a ConfigMap or a Secret is mounted and updated: `mesh -> ..data/mesh`, `..data -> ..<time>`.
#[tokio::test]
async fn the_swap_of_a_mounted_volume_is_reported_for_its_files_and_for_its_directory() {
    let (_guard, dir) = temp();
    let volume = dir.join("volume");
    let file = volume.join("mesh");
    let version = |name: &str| {
        fs::create_dir_all(volume.join(name)).unwrap();
        fs::write(volume.join(name).join("mesh"), name).unwrap();
        symlink(name, volume.join("..data_tmp")).unwrap();
        fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
    };
    version("..one");
    symlink("..data/mesh", &file).unwrap();
    let mut watch = watch(&[&file, &volume]);

    for (old, new) in [("..one", "..two"), ("..two", "..three")] {
        version(new);
        fs::remove_dir_all(volume.join(old)).unwrap();
        assert_eq!(changed(&mut watch).await, [volume.clone(), file.clone()]);
        assert_eq!(fs::read_to_string(&file).unwrap(), new);
    }
}

#[tokio::test]
async fn the_target_of_a_link_is_watched_where_it_lies() {
    let (_guard, dir) = temp();
    let (real, link) = (dir.join("elsewhere"), dir.join("config"));
    fs::create_dir(&real).unwrap();
    symlink(&real, &link).unwrap();
    let mut watch = watch(&[&link]);
    fs::write(real.join("one.yaml"), "1").unwrap();
    assert_eq!(changed(&mut watch).await, only(&link));
}

#[tokio::test]
async fn a_link_on_the_way_may_be_swapped() {
    let (_guard, dir) = temp();
    for name in ["one", "two"] {
        fs::create_dir_all(dir.join(name).join("etc")).unwrap();
        fs::write(dir.join(name).join("etc/mesh"), name).unwrap();
    }
    symlink("one", dir.join("current")).unwrap();
    let file = dir.join("current/etc/mesh");
    let mut watch = watch(&[&file]);

    symlink("two", dir.join("next")).unwrap();
    fs::rename(dir.join("next"), dir.join("current")).unwrap();
    assert_eq!(changed(&mut watch).await, only(&file), "swapped");
    fs::write(dir.join("two/etc/mesh"), "new").unwrap();
    assert_eq!(changed(&mut watch).await, only(&file), "written behind the link");
    fs::remove_file(&file).unwrap();
    assert_eq!(changed(&mut watch).await, only(&file), "removed");
    fs::write(&file, "again").unwrap();
    assert_eq!(changed(&mut watch).await, only(&file), "made again");
}

#[tokio::test]
async fn a_tree_stays_watched_when_a_file_within_it_goes() {
    let (_guard, dir) = temp();
    fs::create_dir(dir.join("sub")).unwrap();
    let file = dir.join("sub/mesh");
    fs::write(&file, "1").unwrap();
    let mut watch = watch(&[&dir, &file]);
    fs::remove_file(&file).unwrap();
    assert_eq!(changed(&mut watch).await, [dir.clone(), file]);
    fs::write(dir.join("sub/other"), "1").unwrap();
    assert_eq!(changed(&mut watch).await, only(&dir));
}

#[tokio::test]
async fn links_that_lead_in_a_circle_end() {
    let (_guard, dir) = temp();
    symlink("b", dir.join("a")).unwrap();
    symlink("a", dir.join("b")).unwrap();
    let mut watch = watch(&[&dir.join("a")]);
    fs::remove_file(dir.join("b")).unwrap();
    fs::write(dir.join("b"), "1").unwrap();
    assert_eq!(changed(&mut watch).await, [dir.join("a")]);
}

#[tokio::test]
async fn a_replaced_directory_is_reported_and_watched_again() {
    let (_guard, dir) = temp();
    let config = dir.join("config");
    fs::create_dir(&config).unwrap();
    let mut watch = watch(&[&config]);

    fs::create_dir(dir.join("next")).unwrap();
    fs::rename(&config, dir.join("old")).unwrap();
    fs::rename(dir.join("next"), &config).unwrap();
    assert_eq!(changed(&mut watch).await, only(&config), "replaced");
    fs::write(config.join("one.yaml"), "1").unwrap();
    assert_eq!(changed(&mut watch).await, only(&config), "a file in the new one");
}

#[tokio::test]
async fn a_path_may_appear_later() {
    let (_guard, dir) = temp();
    let file = dir.join("a/b/mesh");
    let mut watch = watch(&[&file]);
    fs::create_dir_all(dir.join("a/b")).unwrap();
    fs::write(&file, "1").unwrap();
    assert_eq!(changed(&mut watch).await, only(&file));
    fs::write(&file, "2").unwrap();
    assert_eq!(changed(&mut watch).await, only(&file));
}

#[tokio::test]
async fn a_change_before_the_call_and_during_a_cancelled_call_is_not_lost() {
    let (_guard, dir) = temp();
    let file = dir.join("mesh");
    let mut watch = watch(&[&file]);
    fs::write(&file, "1").unwrap();
    let shared = Arc::clone(&watch.shared);
    tokio::select! {
        biased;
        // Ends as soon as the event has arrived, long before the quiet window is over.
        () = async { while shared.events().is_empty() { tokio::task::yield_now().await; } } => {}
        _ = watch.changed() => {}
    }
    assert_eq!(changed(&mut watch).await, only(&file));
}

#[tokio::test]
async fn the_stream_goes_on() {
    use futures::StreamExt as _;
    let (_guard, dir) = temp();
    let file = dir.join("mesh");
    let mut changes = std::pin::pin!(watch(&[&file]).into_stream());
    for _ in 0..2 {
        fs::write(&file, "1").unwrap();
        assert_eq!(changes.next().await, Some(BTreeSet::from([file.clone()])));
    }
}
