//! New projects: they build, run, and write down what Mixer sends.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use mesh_config::{decode, validation, yaml};
use mesh_testing::provision::{cache_dir, environment, wheels};
use mesh_testing::{Process, eventually};
use prost_reflect::{DynamicMessage, Value};

use crate::call::Adapter;
use crate::support::{Author, TEMPLATES};

/// Longer than anything here takes, also on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(900);

const REQUIREMENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/project/python/requirements.txt");

/// The sample in its own repository (`spec 02` §11.4).
const MYOOTPRINT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../samples/myootprint");

/// A Python adapter; pip takes what was fetched before.
fn python(project: &Path) -> Command {
    let wheels = wheels(Path::new(REQUIREMENTS)).unwrap();
    let mut command = Command::new("python3");
    command
        .args(["run.py", "127.0.0.1:0"])
        .current_dir(project)
        .env("PIP_NO_INDEX", "1")
        .env("PIP_FIND_LINKS", wheels);
    command
}

/// Where a program that was started listens.
async fn listening(process: &mut Process) -> String {
    process
        .wait_for_line(PATIENCE, |line| {
            line.strip_prefix("listening on ").map(str::to_owned)
        })
        .await
        .unwrap()
}

/// The objects of a project are what Mixer and the webhook take.
fn assert_objects(author: &Author, folder: &str) {
    for name in [
        "template",
        "adapter",
        "handler",
        "instance",
        "rule",
        "local/attributes",
    ] {
        let file = format!("{folder}/config/{name}.yaml");
        for document in yaml::documents(&file, &author.read(&file)) {
            let config = decode::object(&document.unwrap()).unwrap();
            assert_eq!(validation::validate(&config), [], "{file}");
        }
    }
}

#[test]
fn pain_25_objects_of_every_project_are_admitted() {
    let author = Author::new();
    for lang in ["python", "rust"] {
        for template in TEMPLATES {
            let name = format!("my-{template}-{lang}");
            author.succeed(&["new", &name, "--lang", lang, "--template", template]);
            assert_objects(&author, &name);
            // Nothing is left to fill in.
            for entry in walk(&author.path(&name)) {
                let text = fs::read_to_string(&entry).unwrap();
                let placeholder = [
                    "__NAME__",
                    "__TEMPLATE__",
                    "__INTERFACE__",
                    "__MODULE__",
                    "__RESULT__",
                ];
                assert!(
                    !placeholder.iter().any(|word| text.contains(word)),
                    "{}",
                    entry.display()
                );
            }
        }
    }
    // What a project says about the adapter's resource makes that resource.
    let before = author.read("my-quota-rust/config/adapter.yaml");
    let readme = author.read("my-quota-rust/README.md");
    let command = readme
        .lines()
        .find_map(|line| line.strip_prefix("$ mixgen "))
        .unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_mixgen"))
        .args(command.split(' '))
        .current_dir(author.path("my-quota-rust"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let resource = |text: &str| {
        let document = yaml::documents("adapter.yaml", text).remove(0).unwrap();
        let mut spec = decode::to_json(&decode::object(&document).unwrap())["spec"].clone();
        // Comments of the proto come along when it is a file.
        spec["config"].take();
        spec
    };
    assert_eq!(
        resource(&author.read("my-quota-rust/config/adapter.yaml")),
        resource(&before)
    );
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(walk(&path));
        } else {
            files.push(path);
        }
    }
    files.sort();
    files
}

#[test]
fn pain_25_what_cannot_be_a_project_is_told() {
    let author = Author::new();
    for (arguments, reason) in [
        (
            &["new", "Hello", "--lang", "rust"][..],
            "NAME: \"Hello\" is no name",
        ),
        (
            &["new", "1st", "--lang", "rust"],
            "NAME: \"1st\" begins with a digit",
        ),
        (
            &["new", "hello", "--lang", "rust", "--template", "metrics"],
            "--template: there is no template \"metrics\", but apikey, ",
        ),
        (
            &["new", "hello", "--lang", "rust", "--namespace", "A"],
            "--namespace: \"A\" is no name",
        ),
    ] {
        let error = author.fail(arguments);
        assert!(error.starts_with(reason), "{error}");
        assert!(!author.path("hello").exists());
    }
    author.succeed(&["new", "hello", "--lang", "rust"]);
    let before = author.read("hello/src/main.rs");
    let error = author.fail(&["new", "hello", "--lang", "python"]);
    assert_eq!(error, "hello: is there already\n");
    assert_eq!(author.read("hello/src/main.rs"), before);
}

/// Calls an adapter as Mixer does, and looks at what it writes and answers.
async fn assert_serves(template: &str, package: &str, adapter: &mut Process, out: &Path) -> DynamicMessage {
    let mut called = Adapter::connect(template, &listening(adapter).await).await;
    let config = called.params(package, &out.display().to_string());
    let answer = called.call("/hello", config).await.unwrap();
    let begin = format!("{template} ");
    let line = adapter
        .wait_for_line(PATIENCE, |line| line.starts_with(&begin).then(|| line.to_owned()))
        .await
        .unwrap();
    assert!(line.contains("hello.instance.istio-system"), "{line}");
    assert_eq!(fs::read_to_string(out).unwrap(), format!("{line}\n"));

    let error = called
        .call("/hello", called.params("somebody.else", ""))
        .await
        .unwrap_err();
    assert_eq!(error.code(), tonic::Code::InvalidArgument, "{error}");
    assert!(error.message().contains("somebody.else.config.Params"), "{error}");
    answer
}

/// What an adapter that decides nothing itself answers.
fn assert_answer(template: &str, answer: &DynamicMessage) {
    let field = |name: &str| answer.get_field_by_name(name).map(|value| value.into_owned());
    match template {
        "quota" => {
            let Some(Value::Map(quotas)) = field("quotas") else {
                panic!("{answer:?}");
            };
            let granted = quotas.values().next().and_then(Value::as_message).unwrap();
            assert_eq!(
                granted.get_field_by_name("granted_amount").unwrap().as_i64(),
                Some(3)
            );
        }
        "apikey" | "authorization" | "checknothing" | "listentry" => {
            assert_eq!(
                field("valid_use_count").and_then(|count| count.as_i32()),
                Some(1000)
            );
        }
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pain_25_a_python_project_of_every_template_serves_mixer() {
    let author = Author::new();
    // One for all of them: installing takes a while.
    let installed = environment(Path::new(REQUIREMENTS)).unwrap();
    for template in TEMPLATES {
        author.succeed(&[
            "new",
            "hello",
            "--lang",
            "python",
            "--template",
            template,
            "--output",
            template,
        ]);
        let project = author.path(template);
        symlink(&installed, project.join(".venv")).unwrap();
        let mut adapter = Process::start(template, python(&project)).unwrap();
        let answer = assert_serves(template, "hello", &mut adapter, &project.join("out")).await;
        assert_answer(template, &answer);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pain_25_a_rust_project_of_every_variety_serves_mixer() {
    let author = Author::new();
    // Whoever runs this again does not compile tonic again.
    let target = cache_dir().unwrap().join("mixgen-rust");
    for template in ["metric", "listentry", "quota", "kubernetes"] {
        let name = format!("my-{template}");
        author.succeed(&["new", &name, "--lang", "rust", "--template", template]);
        let mut command = Command::new(env!("CARGO"));
        command
            .args(["run", "--quiet", "--", "127.0.0.1:0"])
            .env("CARGO_TARGET_DIR", &target)
            .current_dir(author.path(&name));
        let mut adapter = Process::start(template, command).unwrap();
        let out = author.path(template);
        let answer = assert_serves(template, &name.replace('-', "_"), &mut adapter, &out).await;
        assert_answer(template, &answer);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m110_a_repository_of_its_own_works_outside_of_this_one() {
    // The sample is what `mixgen new` makes, byte for byte.
    let author = Author::new();
    author.succeed(&["new", "myootprint", "--lang", "python"]);
    let listed = |folder: &Path| -> Vec<(PathBuf, String)> {
        let file = |path: PathBuf| {
            let text = fs::read_to_string(&path).unwrap();
            (path.strip_prefix(folder).unwrap().to_owned(), text)
        };
        walk(folder).into_iter().map(file).collect()
    };
    let made = listed(&author.path("myootprint"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let _ = fs::remove_dir_all(MYOOTPRINT);
        for (name, text) in &made {
            let path = Path::new(MYOOTPRINT).join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }
    let sample = listed(Path::new(MYOOTPRINT));
    let names = |files: &[(PathBuf, String)]| files.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&sample), names(&made));
    for (made, sample) in made.iter().zip(&sample) {
        assert_eq!(made, sample);
    }

    // Copied away, with nothing of this tree in reach, its environment installed from the pinned packages.
    let elsewhere = Author::new();
    for (name, text) in &sample {
        elsewhere.write(name.to_str().unwrap(), text);
    }
    let out = elsewhere.path("instances.txt");
    let mut adapter = Process::start("myootprint", python(&elsewhere.path(""))).unwrap();
    assert_serves("metric", "myootprint", &mut adapter, &out).await;
    let text = fs::read_to_string(&out).unwrap();
    assert!(
        text.contains("\"int64_value\": \"1\"") && text.contains("/hello"),
        "{text}"
    );

    // It ends when it is told to.
    adapter.signal(nix::sys::signal::Signal::SIGTERM).unwrap();
    eventually(PATIENCE, async || match adapter.ended() {
        Some(status) if status.success() => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await
    .unwrap();
}
