//! Looks at real files, with clocks that the tests turn.

use std::fs;
use std::os::unix::fs::symlink;

use mesh_config::{ConfigKey, Kind};
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

/// A directory and its reader.
struct Files {
    directory: TempDir,
    reader: Reader,
    now: Instant,
    clock: SystemTime,
}

impl Files {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let reader = Reader::new(directory.path().to_owned());
        Self {
            directory,
            reader,
            now: Instant::now(),
            clock: SystemTime::now(),
        }
    }

    fn write(&self, name: &str, text: &str) -> &Self {
        let path = self.directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    fn remove(&self, name: &str) -> &Self {
        fs::remove_file(self.directory.path().join(name)).unwrap();
        self
    }

    /// The events of the next look as short text, without problems.
    fn look(&mut self) -> Vec<String> {
        self.look_at(None)
    }

    /// The same, where something has happened to these files only.
    fn look_only(&mut self, names: &[&str]) -> Vec<String> {
        let paths = names.iter().map(|name| self.directory.path().join(name));
        self.look_at(Some(&paths.collect()))
    }

    fn look_at(&mut self, changed: Option<&BTreeSet<PathBuf>>) -> Vec<String> {
        let events = self.reader.look(changed, self.now, self.clock);
        events
            .into_iter()
            .filter_map(|event| match event {
                Event::Upsert(config) => Some(format!("+{}", config.meta.key)),
                Event::Delete(key) => Some(format!("-{key}")),
                Event::FullSync => Some("sync".to_owned()),
                Event::Problems(_) | Event::Mesh(_) => None,
            })
            .collect()
    }

    /// The problems as text, relative to the directory.
    fn problems(&self) -> Vec<String> {
        let directory = format!("{}/", self.directory.path().display());
        let errors = self.reader.problems.iter().flat_map(|problem| &problem.errors);
        errors
            .map(|error| error.to_string().replace(&directory, ""))
            .collect()
    }
}

fn gateway(name: &str, port: u16) -> String {
    format!(
        "apiVersion: networking.istio.io/v1alpha3
kind: Gateway
metadata:
  name: {name}
  namespace: ns
spec:
  servers:
  - hosts: ['*']
    port: {{number: {port}, name: http, protocol: HTTP}}
---
"
    )
}

#[test]
fn t34_one_document_of_many_removed_makes_one_delete_event() {
    let mut files = Files::new();
    files.write(
        "all.yaml",
        &(gateway("a", 1) + &gateway("b", 2) + &gateway("c", 3)),
    );
    assert_eq!(
        files.look(),
        ["+Gateway ns/a", "+Gateway ns/b", "+Gateway ns/c", "sync"]
    );
    files.write("all.yaml", &(gateway("a", 1) + &gateway("c", 3)));
    assert_eq!(files.look(), ["-Gateway ns/b"]);
}

#[test]
fn only_documents_whose_content_differs_make_events() {
    let mut files = Files::new();
    files.write("all.yaml", &(gateway("a", 1) + &gateway("b", 2)));
    files.look();
    assert_eq!(files.look(), [""; 0]);
    files.write("all.yaml", &(gateway("b", 3) + "# moved\n" + &gateway("a", 1)));
    assert_eq!(files.look(), ["+Gateway ns/b"]);
    files.remove("all.yaml");
    assert_eq!(files.look(), ["-Gateway ns/a", "-Gateway ns/b"]);
}

#[test]
fn yaml_and_json_files_are_read_recursively_and_hidden_ones_are_not() {
    let mut files = Files::new();
    let json = r#"{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "json"}}"#;
    files
        .write("a.yaml", &gateway("a", 1))
        .write("deep/er/b.yml", &gateway("b", 1))
        .write("c.json", json)
        .write("d.txt", &gateway("d", 1))
        .write(".e.yaml", &gateway("e", 1))
        .write(".git/f.yaml", &gateway("f", 1));
    assert_eq!(
        files.look(),
        ["+Gateway ns/a", "+Gateway ns/b", "+Namespace json", "sync"]
    );
}

#[test]
fn one_file_is_read_whatever_its_name() {
    let mut files = Files::new();
    files
        .write("mesh.conf", &gateway("a", 1))
        .write("b.yaml", &gateway("b", 1));
    files.reader = Reader::new(files.directory.path().join("mesh.conf"));
    assert_eq!(files.look(), ["+Gateway ns/a", "sync"]);
}

#[test]
fn a_mounted_config_map_is_read_once_and_follows_its_link() {
    let mut files = Files::new();
    files
        .write("..v1/a.yaml", &gateway("a", 1))
        .write("..v2/a.yaml", &gateway("a", 2));
    let path = files.directory.path().to_owned();
    symlink("..v1", path.join("..data")).unwrap();
    symlink("..data/a.yaml", path.join("a.yaml")).unwrap();
    assert_eq!(files.look(), ["+Gateway ns/a", "sync"]);
    assert_eq!(files.problems(), [""; 0]);
    symlink("..v2", path.join("..new")).unwrap();
    fs::rename(path.join("..new"), path.join("..data")).unwrap();
    assert_eq!(files.look(), ["+Gateway ns/a"]);
}

#[test]
fn links_in_a_circle_and_to_nothing_are_survived() {
    let mut files = Files::new();
    files.write("deep/a.yaml", &gateway("a", 1));
    let path = files.directory.path().to_owned();
    symlink("..", path.join("deep/up")).unwrap();
    symlink("nowhere.yaml", path.join("lost.yaml")).unwrap();
    assert_eq!(files.look(), ["+Gateway ns/a", "sync"]);
}

#[test]
fn of_two_definitions_the_first_by_path_and_place_counts() {
    let mut files = Files::new();
    files.write("b.yaml", &(gateway("x", 2) + &gateway("x", 3)));
    assert_eq!(files.look(), ["+Gateway ns/x", "sync"]);
    assert_eq!(
        files.problems(),
        [
            "b.yaml:11: Gateway ns/x: metadata.name: the object is defined in b.yaml:1 already, and the first \
          definition counts"
        ]
    );

    files.write("a.yaml", &gateway("x", 1));
    assert_eq!(files.look(), ["+Gateway ns/x"]);
    assert_eq!(files.problems().len(), 2);
    assert!(
        files.problems()[0].contains("defined in a.yaml:1 already"),
        "{:?}",
        files.problems()
    );

    // Where the first goes, the second takes its place; equal content is no change.
    files.write("b.yaml", &gateway("x", 1)).remove("a.yaml");
    assert_eq!(files.look(), [""; 0]);
    assert_eq!(files.problems(), [""; 0]);
}

#[test]
fn an_invalid_object_is_left_out_and_everything_else_is_served() {
    let mut files = Files::new();
    files.write("a.yaml", &(gateway("a", 1) + &gateway("b", 2)));
    files.look();
    files.write(
        "a.yaml",
        &(gateway("a", 1).replace("servers:", "sorvers:") + &gateway("b", 3)),
    );
    assert_eq!(files.look(), ["-Gateway ns/a", "+Gateway ns/b"]);
    let problems = files.problems();
    assert_eq!(problems.len(), 1);
    assert!(
        problems[0].starts_with("a.yaml:7: Gateway ns/a: sorvers: unknown field"),
        "{problems:?}"
    );
    files.write("a.yaml", &(gateway("a", 1) + &gateway("b", 3)));
    assert_eq!(files.look(), ["+Gateway ns/a"]);
    assert_eq!(files.problems(), [""; 0]);
}

#[test]
fn every_broken_rule_of_an_object_is_reported_with_its_line() {
    let mut files = Files::new();
    files.write(
        "a.yaml",
        &gateway("a", 1)
            .replace("['*']", "[]")
            .replace("protocol: HTTP", "protocol: X"),
    );
    assert_eq!(files.look(), ["sync"]);
    let problems = files.problems();
    assert!(problems.len() >= 2, "{problems:?}");
    assert!(
        problems.iter().all(|problem| problem.starts_with("a.yaml:")),
        "{problems:?}"
    );
    assert_eq!(files.reader.problems.len(), 1, "one object");
}

#[test]
fn a_half_written_file_takes_what_it_says_and_keeps_the_rest() {
    let mut files = Files::new();
    let whole = gateway("a", 1) + &gateway("b", 2) + &gateway("c", 3);
    files.write("a.yaml", &whole);
    files.look();
    // The first document is new, and the second is cut inside a string.
    let broken = gateway("a", 9) + "kind: \"Gate";
    files.write("a.yaml", &broken);
    assert_eq!(files.look(), ["+Gateway ns/a"]);
    assert_eq!(files.problems().len(), 1);
    // Editing on does not lose what was kept.
    files.write("a.yaml", &(broken + "way"));
    assert_eq!(files.look(), [""; 0]);
    files.write("a.yaml", &(gateway("a", 9) + &gateway("b", 2)));
    assert_eq!(files.look(), ["-Gateway ns/c"]);
    assert_eq!(files.problems(), [""; 0]);
}

#[test]
fn an_object_that_is_invalid_is_not_kept_because_another_document_is_broken() {
    let mut files = Files::new();
    files.write("a.yaml", &(gateway("a", 1) + &gateway("b", 2)));
    files.look();
    files.write(
        "a.yaml",
        &(gateway("a", 1).replace("servers:", "sorvers:") + "kind: \"Gate"),
    );
    assert_eq!(files.look(), ["-Gateway ns/a"]);
}

#[test]
fn a_file_that_is_suddenly_empty_is_believed_after_a_second() {
    let mut files = Files::new();
    files.write("a.yaml", &gateway("a", 1));
    files.look();
    files.write("a.yaml", "");
    assert_eq!(files.look(), [""; 0]);
    assert_eq!(files.reader.again, Some(files.now + EMPTY_GRACE));
    // Written at last.
    files.now += Duration::from_millis(900);
    files.write("a.yaml", &gateway("a", 2));
    assert_eq!(files.look(), ["+Gateway ns/a"]);
    assert_eq!(files.reader.again, None);
    // Empty for good.
    files.write("a.yaml", "# nothing\n");
    assert_eq!(files.look(), [""; 0]);
    files.now += EMPTY_GRACE;
    assert_eq!(files.look(), ["-Gateway ns/a"]);
    assert_eq!(files.reader.again, None);
}

#[test]
fn a_file_that_is_too_large_or_not_text_keeps_its_objects() {
    let mut files = Files::new();
    files
        .write("a.yaml", &gateway("a", 1))
        .write("b.yaml", &gateway("b", 1));
    files.look();
    files.write("a.yaml", &"#".repeat(10 * 1024 * 1024));
    fs::write(files.directory.path().join("b.yaml"), b"kind: x\nname: \xff\n").unwrap();
    assert_eq!(files.look(), [""; 0]);
    assert_eq!(
        files.problems(),
        [
            "a.yaml:1: the file is longer than the 8388608 bytes that are read",
            "b.yaml:1: line 2 is not UTF-8"
        ]
    );
    files.remove("a.yaml").write("b.yaml", &gateway("b", 1));
    assert_eq!(files.look(), ["-Gateway ns/a"]);
    assert_eq!(files.problems(), [""; 0]);
}

#[test]
fn a_path_that_does_not_exist_is_waited_for_and_one_that_disappears_changes_nothing() {
    let mut files = Files::new();
    let path = files.directory.path().join("config");
    files.reader = Reader::new(path.clone());
    assert_eq!(files.look(), [""; 0]);
    assert!(
        files.problems()[0].starts_with("config:1: cannot be read: "),
        "{:?}",
        files.problems()
    );
    assert_eq!(files.reader.again, Some(files.now + RETRY));

    files.write("config/a.yaml", &gateway("a", 1));
    assert_eq!(files.look(), ["+Gateway ns/a", "sync"]);
    fs::rename(&path, files.directory.path().join("elsewhere")).unwrap();
    assert_eq!(files.look(), [""; 0]);
    assert_eq!(files.problems().len(), 1);
    files.write("config/b.yaml", &gateway("b", 1));
    assert_eq!(files.look(), ["-Gateway ns/a", "+Gateway ns/b"]);
}

#[test]
fn objects_of_foreign_kinds_are_ignored_and_unknown_kinds_are_not() {
    let mut files = Files::new();
    files
        .write(
            "a.yaml",
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\n",
        )
        .write("b.yaml", "apiVersion: v1\nkind: Servce\nmetadata: {name: x}\n");
    assert_eq!(files.look(), ["sync"]);
    let problems = files.problems();
    assert_eq!(problems.len(), 1);
    assert!(problems[0].starts_with("b.yaml:2: Servce "), "{problems:?}");
}

#[test]
fn a_file_that_changes_within_one_tick_of_the_clock_is_read_again() {
    let mut files = Files::new();
    files.write("a.yaml", &gateway("a", 1));
    files.look();
    // The same length, and the same time as far as the file system can tell.
    let path = files.directory.path().join("a.yaml");
    let known = files.reader.known.get_mut(&path).unwrap();
    assert!(known.again, "just written");
    files.write("a.yaml", &gateway("a", 2));
    files.reader.known.get_mut(&path).unwrap().stamp = {
        let listing = scan::list(files.directory.path()).unwrap();
        listing.files[&path]
    };
    assert_eq!(files.look(), ["+Gateway ns/a"]);

    // Once it is old enough it is left alone.
    files.clock += Duration::from_secs(10);
    files.look();
    assert!(!files.reader.known[&path].again);
}

#[test]
fn where_little_happened_nothing_else_is_looked_at() {
    let mut files = Files::new();
    for name in ["a", "b", "c"] {
        files.write(&format!("{name}.yaml"), &gateway(name, 1));
    }
    files.look();
    // Nobody says so of b.
    for name in ["a", "b", "d", ".e"] {
        files.write(&format!("{name}.yaml"), &gateway(name, 2));
    }
    files.write("f.txt", &gateway("f", 1)).remove("c.yaml");
    let names = ["a.yaml", "c.yaml", "d.yaml", ".e.yaml", "f.txt", "g.yaml"];
    assert_eq!(
        files.look_only(&names),
        ["+Gateway ns/a", "-Gateway ns/c", "+Gateway ns/d"]
    );
    assert_eq!(files.look_only(&[]), [""; 0]);
    assert_eq!(files.look(), ["+Gateway ns/b"]);
}

#[test]
fn what_is_to_be_looked_at_again_is_not_forgotten_for_something_else() {
    let mut files = Files::new();
    files
        .write("a.yaml", &gateway("a", 1))
        .write("b.yaml", &gateway("b", 1));
    files.look();
    files.write("a.yaml", "");
    assert_eq!(files.look_only(&["a.yaml"]), [""; 0]);
    assert!(files.reader.again.is_some(), "an empty file is not believed yet");
    files.now += EMPTY_GRACE;
    files.write("b.yaml", &gateway("b", 2));
    assert_eq!(files.look_only(&["b.yaml"]), ["-Gateway ns/a", "+Gateway ns/b"]);
}

#[test]
fn the_creation_time_is_that_of_the_object_or_when_it_was_first_seen() {
    let mut files = Files::new();
    let dated = gateway("dated", 1).replace(
        "  namespace: ns\n",
        "  namespace: ns\n  creationTimestamp: 2019-03-01T00:00:00Z\n",
    );
    files.write("a.yaml", &(gateway("a", 1) + &dated));
    let created = |events: Vec<Event>| {
        let times = events.into_iter().filter_map(|event| match event {
            Event::Upsert(config) => Some((config.meta.key.name.to_string(), config.meta.created.seconds)),
            _ => None,
        });
        times.collect::<Vec<_>>()
    };
    let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let events = files.reader.look(None, files.now, at(100));
    assert_eq!(
        created(events),
        [("a".to_owned(), 100), ("dated".to_owned(), 1_551_398_400)]
    );
    // It stays as long as the object exists.
    files.write("a.yaml", &gateway("a", 2));
    let events = files.reader.look(None, files.now, at(200));
    assert_eq!(created(events), [("a".to_owned(), 100)]);
    files.remove("a.yaml");
    files.reader.look(None, files.now, at(300));
    files.write("a.yaml", &gateway("a", 2));
    let events = files.reader.look(None, files.now, at(400));
    assert_eq!(created(events), [("a".to_owned(), 400)]);
}

#[test]
fn the_version_of_an_object_depends_on_what_it_says_only() {
    let version = |text: &str| {
        let mut files = Files::new();
        files.write("a.yaml", text);
        let events = files.reader.look(None, files.now, files.clock);
        events.into_iter().find_map(|event| match event {
            Event::Upsert(config) => Some(config.meta.version),
            _ => None,
        })
    };
    let text = gateway("a", 1);
    assert_eq!(version(&text), version(&format!("# comment\n{text}")));
    let labelled = text.replace("  namespace: ns\n", "  namespace: ns\n  labels: {a: b}\n");
    assert_ne!(version(&text), version(&labelled));
    assert_ne!(version(&text), version(&gateway("a", 2)));
    assert_eq!(version(&text).map(|version| version.len()), Some(32));
}

#[test]
fn all_kinds_are_read_the_core_of_kubernetes_among_them() {
    let mut files = Files::new();
    let mut text = String::new();
    for &kind in Kind::ALL {
        let schema = kind.schema();
        let group = if schema.group.is_empty() {
            String::new()
        } else {
            format!("{}/", schema.group)
        };
        text += &format!(
            "apiVersion: {group}{}\nkind: {}\nmetadata: {{name: x}}\n---\n",
            schema.version, schema.kind
        );
    }
    files.write("all.yaml", &text);
    let told = files.look();
    let claimed = told.len() - 1 + files.reader.problems.len();
    assert_eq!(claimed, Kind::ALL.len(), "{:?}", files.problems());
    // Those that must have content are reported as such.
    for problem in files.problems() {
        assert!(!problem.contains("unknown"), "{problem}");
    }
    for kind in [
        Kind::Service,
        Kind::Endpoints,
        Kind::Pod,
        Kind::Node,
        Kind::Namespace,
        Kind::Ingress,
    ] {
        let namespace = match kind.schema().scope {
            mesh_config::Scope::Namespace => "default",
            mesh_config::Scope::Cluster => "",
        };
        let key = ConfigKey::new(kind, namespace, "x");
        assert!(told.contains(&format!("+{key}")), "{key} is not in {told:?}");
    }
}

/// What a consumer of the events has: version by object.
fn apply(state: &mut BTreeMap<String, String>, events: &[Event]) {
    for event in events {
        match event {
            Event::Upsert(config) => {
                state.insert(config.meta.key.to_string(), config.meta.version.clone());
            }
            Event::Delete(key) => {
                state.remove(&key.to_string());
            }
            Event::Problems(_) | Event::Mesh(_) | Event::FullSync => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever is edited in whatever order, the events add up to what somebody sees who comes last.
    #[test]
    fn following_changes_is_the_same_as_reading_everything_anew(
        edits in proptest::collection::vec(
            ("[abc]\\.yaml", proptest::collection::vec(("[xyz]", 1_u16..4), 0..4)),
            1..12,
        ),
        only in any::<bool>(),
    ) {
        let mut files = Files::new();
        let mut state = BTreeMap::new();
        for (name, objects) in &edits {
            let text: String = objects.iter().map(|(object, port)| gateway(object, *port)).collect();
            // A foreign object keeps the file from being suspiciously empty.
            files.write(name, &format!("apiVersion: apps/v1\nkind: Deployment\n---\n{text}"));
            let path = BTreeSet::from([files.directory.path().join(name)]);
            let changed = Some(&path).filter(|_| only);
            apply(&mut state, &files.reader.look(changed, files.now, files.clock));
        }
        let mut fresh = BTreeMap::new();
        let mut reader = Reader::new(files.directory.path().to_owned());
        apply(&mut fresh, &reader.look(None, files.now, files.clock));
        prop_assert_eq!(state, fresh);
        prop_assert_eq!(&files.reader.problems, &reader.problems);
    }
}
