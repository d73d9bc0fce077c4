//! Whatever is written into objects of Mixer's kinds, nothing panics on the way from their text to answers; what is taken
//! says the same when it is written again, and what is refused names the object and the reason.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mesh_config::{Config, ConfigError, Kind, decode, validation, yaml};
use mesh_runtime::args::HostPort;
use mesh_runtime::{Metrics, Spawner};
use mesh_testing::fuzz::{self, changed};
use mesh_testing::objects::{self, Choices};
use mixer_attribute::encode::{self, Attributes, Sent};
use mixer_attribute::{CheckRequest, QuotaParams, ReportRequest, Semantics, testing};
use mixer_runtime::config::{Problems, Snapshot, State, StoreEvent, kinds};
use mixer_runtime::dispatch::Patience;
use mixer_runtime::handler::{self, Factory, HandlerTable};
use mixer_runtime::routing::Table;
use mixer_runtime::{Adapters, Engine, EngineMetrics};
use prost::Message as _;
use serde_json::{Value, json};

use crate::harness::object;

/// Adapters of whose handlers no word leaves the process.
const HARMLESS: &[&str] = &[
    "denier",
    "listchecker",
    "memquota",
    "noop",
    "opa",
    "prometheus",
    "rbac",
];

/// Names of objects and of what they refer to: few, so that they meet.
const NAMES: &[&str] = &["a", "b", "c"];

const EXPRESSIONS: &[&str] = &[
    "source.name | \"unknown\"",
    "source.labels[\"app\"] | \"none\"",
    "source.labels[\"app\"]",
    "source.ip",
    "source.ip | ip(\"0.0.0.0\")",
    "request.time",
    "request.size | 0",
    "response.duration | \"0ms\"",
    "response.code | 200",
    "connection.mtls | false",
    "context.protocol == \"http\" || context.protocol == \"grpc\"",
    "match(request.path, \"/a*\")",
    "\"^/a\".matches(request.path)",
    "request.headers[\"cookie\"] | \"\"",
    "conditional((context.reporter.kind | \"inbound\") == \"outbound\", \"source\", \"destination\")",
    "$out.source_pod_name",
    "output.source_labels | emptyStringMap()",
    "x.output.value",
    "nobody.knows",
    "true",
    "1",
    "1.5",
    "\"text\"",
    "\"10s\"",
    "",
    "((",
];

#[test]
fn fuzz_configuration() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let corpus = corpus();
    let world = runtime.block_on(async { World::new() });
    let manifest = documents(&corpus, Kind::AttributeManifest)[0].clone();
    for text in &corpus {
        runtime.block_on(world.go(read(text), &mut Choices::of_bytes(&[])));
    }
    fuzz::rounds("configuration", |choices| {
        let before = fuzz::panics();
        let mut objects = read(&manifest);
        for _ in 0..=choices.below(8) {
            match choices.below(4) {
                0 => {
                    let mut text = choices.one_of(&corpus).clone();
                    for _ in 0..=choices.below(4) {
                        let other: &String = choices.one_of(&corpus);
                        text = changed(&text, other, choices);
                    }
                    objects.extend(read(&text));
                }
                _ => objects.extend(made(choices)),
            }
        }
        if choices.chance(20) {
            objects = objects
                .into_iter()
                .map(|object| damaged(object, choices))
                .collect();
        }
        runtime.block_on(world.go(objects, choices));
        assert_eq!(fuzz::panics(), before, "somebody caught a panic");
    })
    .unwrap_or_else(|failure| panic!("{failure}"));
}

/// What an object becomes, step by step.
struct World {
    all: Adapters,
    harmless: Arc<Adapters>,
    metrics: EngineMetrics,
    factory: Factory,
}

impl World {
    fn new() -> Self {
        let nowhere = HostPort {
            host: Some("127.0.0.1".to_owned()),
            port: 0,
        };
        let all = || {
            mixer_adapters::all_with(mixer_adapters::Options {
                prometheus: nowhere.clone(),
            })
        };
        let mut harmless = all();
        harmless.retain(|adapter| HARMLESS.contains(&adapter.info().name));
        let harmless = Arc::new(Adapters::new(harmless).unwrap());
        let metrics = EngineMetrics::register(&Metrics::new()).unwrap();
        let (factory, closer) = Factory::new(Arc::clone(&harmless), Spawner::default(), metrics.clone());
        Spawner::default().spawn("closer", closer.run());
        Self {
            all: Adapters::new(all()).unwrap(),
            harmless,
            metrics,
            factory,
        }
    }

    async fn go(&self, objects: Vec<Config>, choices: &mut Choices<'_>) {
        let mut state = State::default();
        for object in &objects {
            validation::validate(object);
            state.apply(StoreEvent::Upsert(object.clone()));
        }
        let snapshot = Snapshot::new(0, state.objects(), &self.all);
        told(&snapshot.problems);
        told(&handler::validate(&snapshot, &self.all));

        let mut state = State::default();
        for object in objects.into_iter().filter(is_harmless) {
            state.apply(StoreEvent::Upsert(object));
        }
        let snapshot = Snapshot::new(1, state.objects(), &self.harmless);
        let built = self.factory.build(&snapshot, &HandlerTable::default()).await;
        told(&built.problems);
        let mut problems = Problems::default();
        let (table, _) = Table::new(
            &snapshot,
            &built.table,
            "istio-system",
            &self.metrics,
            &mut problems,
        );
        told(&problems.into_vec());
        drop(built);
        let engine = Engine::new(self.metrics.clone()).with_check_cache(10);
        engine.replace(table.with_generation(state.objects()));
        for _ in 0..4 {
            ask(&engine, choices).await;
        }
        // Its handlers are closed with it, by somebody else.
        drop(engine);
        tokio::task::yield_now().await;
    }
}

/// What is wrong is told with the object, and with a reason.
fn told(problems: &[ConfigError]) {
    for problem in problems {
        assert!(
            !problem.object.is_empty() && !problem.reason.is_empty(),
            "{problem:?}"
        );
        assert!(problem.reason.len() < 20_000, "{} bytes", problem.reason.len());
    }
}

/// Whether handlers that are made of it keep to themselves.
fn is_harmless(object: &Config) -> bool {
    let text = decode::to_json(object)["spec"].to_string();
    !["provider", "connection"].iter().any(|word| text.contains(word))
}

/// Requests, and what the proxy gets.
async fn ask(engine: &Engine, choices: &mut Choices<'_>) {
    let table = engine.table();
    let patience = Patience {
        call_limit: Duration::from_secs(5),
        deadline: None,
    };
    let sets: Vec<Attributes<'static>> = (0..=choices.below(3))
        .map(|_| {
            let mut set = Attributes::new();
            for id in table
                .vocabulary
                .ids()
                .filter(|_| choices.chance(60))
                .collect::<Vec<_>>()
            {
                let value =
                    testing::value(table.vocabulary.value_type(id), &mut |limit| choices.below(limit));
                set.insert(table.vocabulary.name(id).to_owned(), Sent::Value(value));
            }
            set
        })
        .collect();
    let quotas = NAMES.iter().map(|name| {
        let amount = *choices.one_of(&[0, 1, 5, -1, i64::MAX, i64::MIN]);
        let params = QuotaParams {
            amount,
            best_effort: choices.chance(50),
        };
        ((*name).to_owned(), params)
    });
    let quotas: BTreeMap<_, _> = quotas.collect();
    let message = encode::check_request(&sets[0], &quotas, "id".to_owned(), 221).encode_to_vec();
    let request = CheckRequest::read(&message).unwrap();
    if let Ok(checked) = engine.check(&table, &request, patience).await {
        for (name, grant) in &checked.grants {
            let params = quotas[name];
            // What is negative is given back.
            let granted = match params.amount {
                ..=0 => true,
                most if params.best_effort => (0..=most).contains(&grant.amount),
                most => [0, most].contains(&grant.amount),
            };
            assert!(granted, "{name} {params:?} {grant:?}");
        }
        let _ = encode::referenced_attributes(&checked.references, &table.vocabulary, 111);
    }
    let _ = engine.explain(&table, &request, patience).await;
    let message = encode::report_request(&sets, Semantics::Independent, 221)
        .unwrap()
        .encode_to_vec();
    let request = ReportRequest::read(&message).unwrap();
    let _ = engine.report(&table, &request, patience).await;
}

/// Objects of files that are good: those of the book, of the charts, of benches and of samples.
fn corpus() -> Vec<String> {
    let mixer = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = [
        "testdata",
        "samples",
        "../charts/mixer/config",
        "../e2e/samples/mixer-rules",
    ];
    let mut files = Vec::new();
    for folder in folders {
        collect(&mixer.join(folder), &mut files);
    }
    files.sort();
    assert!(files.len() > 20, "{files:?}");
    let read = |path: PathBuf| fs::read_to_string(path).unwrap();
    files.into_iter().map(read).collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            files.push(path);
        }
    }
}

/// The files that have an object of a kind.
fn documents(corpus: &[String], kind: Kind) -> Vec<String> {
    let has = |text: &&String| read(text).iter().any(|object| object.meta.key.kind == kind);
    corpus.iter().filter(has).cloned().collect()
}

/// The objects of a text, which may be any. Those that are taken say the same when they are written again.
fn read(text: &str) -> Vec<Config> {
    let wanted = kinds(true);
    let documents = yaml::documents("fuzz.yaml", text).into_iter().flatten();
    let mut objects = Vec::new();
    for document in documents {
        match decode::object(&document) {
            Ok(object) if wanted.contains(&object.meta.key.kind) => {
                let written = decode::to_json(&object);
                let again = decode::from_json(None, &written)
                    .unwrap_or_else(|error| panic!("{error}\nis wrong with\n{written:#}"));
                assert_eq!(again.body, object.body, "{written:#}");
                objects.push(object);
            }
            Ok(_) => {}
            Err(error) => assert!(!error.reason.is_empty(), "{error:?}"),
        }
    }
    objects
}

/// An object of any of Mixer's kinds, by the descriptors of what stands in it.
fn made(choices: &mut Choices<'_>) -> Vec<Config> {
    let kinds: Vec<Kind> = kinds(true).into_iter().collect();
    let kind = *choices.one_of(&kinds);
    let name = *choices.one_of(NAMES);
    let spec = match kind {
        // Most of the objects of a configuration.
        _ if choices.chance(30) => return made_rule(name, choices),
        Kind::Rule => return made_rule(name, choices),
        Kind::Handler => {
            let adapter = *choices.one_of(HARMLESS);
            json!({ "compiledAdapter": adapter, "params": params(adapter, choices) })
        }
        Kind::Instance => {
            let templates = mixer_template::Template::ALL;
            let template = choices.one_of(templates).name();
            json!({ "compiledTemplate": template, "params": fields(template, choices) })
        }
        Kind::AttributeManifest => objects::content("istio.policy.v1beta1.AttributeManifest", choices)
            .map_or(Value::Null, |manifest| seasoned(manifest, EXPRESSIONS, choices)),
        Kind::Adapter => json!({
            "templates": [choices.one_of(&["metric", "quota", "a", "kubernetes"])],
            "sessionBased": choices.chance(50),
            "config": fuzz::string(choices),
        }),
        Kind::Template => json!({ "descriptor": fuzz::string(choices) }),
        kind => match mixer_template::Template::find(kind.schema().kind) {
            Some(template) => fields(template.name(), choices),
            None => params(kind.schema().kind, choices),
        },
    };
    read(&object(kind.schema().kind, name, &spec.to_string()))
}

fn made_rule(name: &str, choices: &mut Choices<'_>) -> Vec<Config> {
    let mut reference = |kinds: &[&str]| {
        let name = *choices.one_of(NAMES);
        match choices.below(3) {
            0 => name.to_owned(),
            1 => format!("{name}.{}.istio-system", choices.one_of(kinds)),
            _ => format!("{name}.{}", choices.one_of(kinds)),
        }
    };
    let actions: Vec<_> = (0..3)
        .map(|_| {
            let instances = [0; 2].map(|_| {
                reference(&[
                    "instance",
                    "metric",
                    "listentry",
                    "checknothing",
                    "quota",
                    "authorization",
                ])
            });
            json!({
                "handler": reference(&["handler", "denier", "listchecker", "memquota", "opa", "noop"]),
                "instances": instances,
                "name": "x",
            })
        })
        .collect();
    let operation = json!({
        "name": fuzz::string(choices),
        "values": [choices.one_of(EXPRESSIONS)],
        "operation": choices.one_of(&["REPLACE", "REMOVE", "APPEND"]),
    });
    let mut spec = json!({ "actions": actions });
    if choices.chance(60) {
        spec["match"] = (*choices.one_of(EXPRESSIONS)).into();
    }
    if choices.chance(40) {
        spec["requestHeaderOperations"] = json!([operation]);
    }
    read(&object("rule", name, &spec.to_string()))
}

/// Parameters of an adapter.
fn params(adapter: &str, choices: &mut Choices<'_>) -> Value {
    const TEXTS: &[&str] = &[
        "a",
        "a.instance.istio-system",
        "b.instance.istio-system",
        "c.quota",
        "1s",
        "10.0.0.0/8",
        "^a+$",
        "package mixerauthz\ndefault allow = false\nallow { input.subject.user = \"a\" }",
        "data.mixerauthz.allow",
        "app",
        "latency_%",
        "{{.a}} {{.b}",
    ];
    let package = match adapter {
        "listchecker" => "list",
        other => other,
    };
    let made = objects::content(&format!("adapter.{package}.config.Params"), choices);
    made.map_or(Value::Null, |made| seasoned(made, TEXTS, choices))
}

/// Fields of a template, which are expressions.
fn fields(template: &str, choices: &mut Choices<'_>) -> Value {
    let package = match template {
        "kubernetes" => "adapter.template.kubernetes",
        other => other,
    };
    let made = objects::content(&format!("{package}.InstanceParam"), choices);
    made.map_or(Value::Null, |made| seasoned(made, EXPRESSIONS, choices))
}

/// What was made, with most of its texts replaced by those that mean something where they stand.
fn seasoned(value: Value, texts: &[&str], choices: &mut Choices<'_>) -> Value {
    match value {
        Value::String(_) if choices.chance(70) => (*choices.one_of(texts)).into(),
        Value::Array(items) => items
            .into_iter()
            .map(|item| seasoned(item, texts, choices))
            .collect(),
        Value::Object(fields) => {
            let fields = fields.into_iter().map(|(name, value)| {
                let value = seasoned(value, texts, choices);
                (name, value)
            });
            Value::Object(fields.collect())
        }
        other => other,
    }
}

/// The object with a content that is another one on the way: stores deliver what was stored before there was a validation.
fn damaged(mut object: Config, choices: &mut Choices<'_>) -> Config {
    object.body.value = fuzz::message_changed(&object.body.value, choices).into();
    object
}
