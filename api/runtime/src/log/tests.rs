//! What the lines look like and which of them are written.

use std::io::Write;
use std::sync::{Arc, Mutex};

use clap::Parser;
use tracing::{debug, error, info, info_span, warn};

use super::*;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    log: LogArgs,
}

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const SCOPES: &[Scope] = &[Scope {
    name: "ads",
    description: "Discovery streams",
    targets: &["pilot_xds"],
}];

/// Runs `body` with the given flags and returns the lines without their time.
fn lines(flags: &[&str], body: impl FnOnce(&LogHandle)) -> Vec<String> {
    let args = Cli::try_parse_from(["test"].iter().chain(flags)).unwrap().log;
    let buffer = Buffer::default();
    let writer = buffer.clone();
    let (subscriber, handle) = args.subscriber(SCOPES, BoxMakeWriter::new(move || writer.clone()));
    tracing::subscriber::with_default(subscriber, || body(&handle));
    let text = String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn without_time(lines: &[String]) -> Vec<&str> {
    lines
        .iter()
        .map(|line| line.split_once('\t').unwrap().1)
        .collect()
}

#[test]
fn flags_have_istios_names_and_defaults() {
    let defaults = Cli::try_parse_from(["test"]).unwrap().log;
    assert_eq!(format!("{defaults:?}"), format!("{:?}", LogArgs::default()));
    let args = Cli::try_parse_from([
        "test",
        "--log_output_level=default:warn,ads:debug",
        "--log_target=stderr",
        "--log_target=/var/log/mesh",
        "--log_as_json",
        "--log_caller=ads,default",
        "--log_stacktrace_level=default:error",
        "--log_rotate=/var/log/rotated",
        "--log_rotate_max_age=0",
        "--log_rotate_max_backups=2",
        "--log_rotate_max_size=3",
    ])
    .unwrap()
    .log;
    assert_eq!(args.log_output_level.to_string(), "default:warn,ads:debug");
    assert_eq!(args.log_target, ["stderr", "/var/log/mesh"]);
    assert!(args.log_as_json);
    assert_eq!(args.log_caller, ["ads", "default"]);
    let (path, rotation) = args.rotating().unwrap();
    assert_eq!(path, "/var/log/rotated");
    assert_eq!(
        rotation,
        Rotation {
            size: 3 << 20,
            age: None,
            files: Some(2)
        }
    );
    assert!(LogArgs::default().rotating().is_none());
    assert!(
        !Cli::try_parse_from(["test", "--log_as_json=false"])
            .unwrap()
            .log
            .log_as_json
    );
}

#[test]
fn levels_are_read_and_bad_ones_named() {
    let read = |text: &str| text.parse::<ScopeLevels>().map(|levels| levels.to_string());
    assert_eq!(read("debug"), Ok("default:debug".to_owned()));
    assert_eq!(
        read("default:info, ads:none"),
        Ok("default:info,ads:none".to_owned())
    );
    assert_eq!(
        read("pilot_xds::stream:error"),
        Ok("pilot_xds::stream:error".to_owned())
    );
    assert_eq!(read(""), Ok(String::new()));
    assert_eq!(read("ads:loud"), Err(LevelError::Unknown("loud".to_owned())));
    assert_eq!(read(":info"), Err(LevelError::NoScope(":info".to_owned())));
}

#[test]
fn a_text_line_has_time_level_scope_message_fields_and_spans() {
    let lines = lines(&[], |_| {
        let _conn = info_span!("ads", proxy = "sidecar~10.0.0.1", conn = 7).entered();
        info!(target: "pilot_xds::stream", types = 4, reason = "a b", "pushed");
        warn!("no scope");
    });
    let time = lines[0].split_once('\t').unwrap().0;
    assert!(
        time.ends_with('Z') && time.contains('T') && time.len() == 27,
        "{time}"
    );
    assert_eq!(
        without_time(&lines),
        [
            "info\tads\tpushed types=4 reason=\"a b\" ads{proxy=sidecar~10.0.0.1 conn=7}",
            "warn\tno scope ads{proxy=sidecar~10.0.0.1 conn=7}",
        ]
    );
}

#[test]
fn what_a_peer_sends_cannot_forge_a_line() {
    let lines = lines(&[], |_| {
        info!(node = "a\n2020\tinfo\tfake", "hello {}", "x\ny\u{1b}[31m")
    });
    assert_eq!(
        without_time(&lines),
        ["info\thello x\\ny\\u{1b}[31m node=\"a\\n2020\\tinfo\\tfake\""]
    );
}

#[test]
fn json_lines_are_objects_with_istios_names() {
    let lines = lines(&["--log_as_json", "--log_caller=ads"], |_| {
        let span = info_span!("ads", proxy = "p\"1", acked = tracing::field::Empty);
        span.record("acked", true);
        let _conn = span.entered();
        let _inner = info_span!("push").entered();
        error!(target: "ads", level = 3, ratio = 0.5, "line one\nline two");
    });
    let mut line: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
    let object = line.as_object_mut().unwrap();
    assert!(object.remove("time").unwrap().as_str().unwrap().ends_with('Z'));
    let caller = object.remove("caller").unwrap();
    assert!(caller.as_str().unwrap().contains("src/log/tests.rs:"), "{caller}");
    assert_eq!(
        line,
        serde_json::json!({
            "level": "error", "scope": "ads", "msg": "line one\nline two", "level_": 3, "ratio": 0.5,
            "spans": {"ads": {"proxy": "p\"1", "acked": true}, "push": {}},
        })
    );
}

#[test]
fn errors_show_their_sources() {
    #[derive(Debug, thiserror::Error)]
    #[error("cannot read mesh config")]
    struct Outer(#[source] io::Error);
    let outer = Outer(io::Error::other("disk on fire"));
    let lines = lines(&[], |_| {
        warn!(error = &outer as &dyn std::error::Error, "rejected")
    });
    assert_eq!(
        without_time(&lines),
        ["warn\trejected error=\"cannot read mesh config: disk on fire\""]
    );
}

#[test]
fn a_scope_follows_the_default_until_it_has_a_level_of_its_own() {
    let lines = lines(&["--log_output_level=default:warn"], |handle| {
        let all = |round: u32| {
            debug!(target: "ads", round, "d");
            info!(target: "pilot_xds", round, "i");
            warn!(target: "pilot_xds", round, "w");
        };
        all(1);
        handle.set_level("ads", Level::Debug).unwrap();
        all(2);
        handle.set_level("ads", Level::None).unwrap();
        all(3);
    });
    assert_eq!(
        without_time(&lines),
        [
            "warn\tads\tw round=1",
            "debug\tads\td round=2",
            "info\tads\ti round=2",
            "warn\tads\tw round=2"
        ]
    );
}

#[test]
fn libraries_stay_quiet_unless_named() {
    let quiet = lines(
        &["--log_output_level=default:debug"],
        |_| debug!(target: "h2::codec", "frame"),
    );
    assert_eq!(quiet, Vec::<String>::new());
    let named = lines(
        &["--log_output_level=default:info,h2:debug"],
        |_| debug!(target: "h2::codec", "frame"),
    );
    assert_eq!(without_time(&named), ["debug\th2\tframe"]);
}

#[test]
fn scopes_are_listed_with_the_level_in_force() {
    let handle = LogHandle::detached(SCOPES);
    handle.set_level("default", Level::Debug).unwrap();
    handle.set_level("ads", Level::Error).unwrap();
    let level = |name| handle.scope(name).unwrap().output_level;
    assert_eq!(
        [level("default"), level("ads"), level("h2")],
        [Level::Debug, Level::Error, Level::Info]
    );
    assert_eq!(
        handle.set_level("nope", Level::Info),
        Err(UnknownScope("nope".to_owned()))
    );
    assert_eq!(handle.scope("ads").unwrap().description, "Discovery streams");
}

#[test]
fn a_file_gets_whole_lines_and_a_bad_path_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mesh.log").to_str().unwrap().to_owned();
    let sinks = sink::Sinks::open(std::slice::from_ref(&path), None).unwrap();
    (&sinks).write_all(b"one\n").unwrap();
    (&sink::Sinks::open(std::slice::from_ref(&path), None).unwrap())
        .write_all(b"two\n")
        .unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\ntwo\n");

    let missing = dir.path().join("no/such/dir.log").to_str().unwrap().to_owned();
    let error = sink::Sinks::open(std::slice::from_ref(&missing), None).unwrap_err();
    assert_eq!(error.to_string(), format!("--log_target: cannot open {missing}"));
}

#[test]
fn a_rotated_file_gets_what_the_targets_get() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (target, rotated) = (path("mesh.log"), path("rotated.log"));
    let rotation = Rotation {
        size: 10,
        age: None,
        files: None,
    };
    let sinks = sink::Sinks::open(std::slice::from_ref(&target), Some((&rotated, rotation))).unwrap();
    for line in ["one\n", "two\n", "three\n"] {
        (&sinks).write_all(line.as_bytes()).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&target).unwrap(), "one\ntwo\nthree\n");
    assert_eq!(std::fs::read_to_string(&rotated).unwrap(), "three\n");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3);

    let missing = path("no/such/dir.log");
    let error = sink::Sinks::open(&[], Some((&missing, rotation))).unwrap_err();
    assert_eq!(error.to_string(), format!("--log_rotate: cannot open {missing}"));
}
