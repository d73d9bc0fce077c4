//! The files of a project that differ by language.

use super::filled;
use super::template::Template;
use crate::args::Language;
use crate::descriptors::Variety;

const README: &str = include_str!("../../project/README.md");

/// Files with placeholders that the language does not decide.
pub(super) fn files(language: Language, template: &Template) -> Vec<(String, String)> {
    let (values, files): (_, &[(&str, &str)]) = match language {
        Language::Python => (
            python(template),
            &[
                (".gitignore", include_str!("../../project/python/gitignore")),
                ("README.md", README),
                ("adapter.py", include_str!("../../project/python/adapter.py")),
                (
                    "requirements.txt",
                    include_str!("../../project/python/requirements.txt"),
                ),
                ("run.py", include_str!("../../project/python/run.py")),
            ],
        ),
        Language::Rust => (
            rust(template),
            &[
                (".gitignore", include_str!("../../project/rust/gitignore")),
                // Of the versions that were tried; cargo sorts the project in.
                ("Cargo.lock", include_str!("../../project/rust/Cargo.lock.in")),
                ("Cargo.toml", include_str!("../../project/rust/Cargo.toml.in")),
                ("README.md", README),
                ("build.rs", include_str!("../../project/rust/build.rs")),
                ("src/main.rs", include_str!("../../project/rust/src/main.rs")),
            ],
        ),
    };
    files
        .iter()
        .map(|(name, text)| ((*name).to_owned(), filled(text, &values)))
        .collect()
}

fn python(template: &Template) -> Vec<(&'static str, String)> {
    const MODEL: &str = "from istio.mixer.adapter.model.v1beta1 import";
    let (imports, result) = match template.variety {
        Variety::Report => (
            format!("{MODEL} report_pb2 as report\n"),
            "        return report.ReportResult()",
        ),
        Variety::Check | Variety::CheckWithOutput => (
            format!("{MODEL} check_pb2 as check\n"),
            "        # Without a status it is OK; here is where the adapter decides.\n        \
             result = check.CheckResult(valid_use_count=1000)\n        \
             result.valid_duration.seconds = 5\n        return result",
        ),
        Variety::Quota => (
            format!("{MODEL} quota_pb2 as quota\n"),
            "        # All that is asked for is granted; here is where the adapter decides.\n        \
             result = quota.QuotaResult()\n        \
             for name, wanted in request.quota_request.quotas.items():\n            \
             result.quotas[name].granted_amount = wanted.amount\n            \
             result.quotas[name].valid_duration.seconds = 5\n        return result",
        ),
        Variety::AttributeGenerator => (
            String::new(),
            "        # Fields that are set become attributes, by the bindings of the instance.\n        \
             return service.OutputMsg()",
        ),
    };
    let instances = match template.variety {
        Variety::Report => "request.instances",
        _ => "[request.instance]",
    };
    let module = template
        .proto
        .strip_suffix("/template_handler_service.proto")
        .unwrap_or_default();
    vec![
        ("__MODULE__", module.replace('/', ".")),
        ("__INTERFACE__", template.interface.clone()),
        ("__IMPORTS__\n", imports + "\n"),
        ("__INSTANCES__", instances.to_owned()),
        ("__RESULT__", result.to_owned()),
        ("__RUN__", "python3 run.py".to_owned()),
        (
            "__FILES__",
            "| `adapter.py` | the adapter |\n\
             | `run.py` | installs `requirements.txt` into `.venv`, generates `gen` out of `proto`, runs the adapter |\n\
             | `requirements.txt` | Python's packages that it needs, with their checksums |"
                .to_owned(),
        ),
        (
            "__MORE__\n",
            "\nWith `--certificate` and `--key` the adapter speaks TLS, with `--ca` only to callers with a certificate of that \
             authority;\nthe handler's `connection.authentication` says what Mixer does.\n"
                .to_owned(),
        ),
    ]
}

fn rust(template: &Template) -> Vec<(&'static str, String)> {
    const MODEL: &str = "use protos::istio::mixer::adapter::model::v1beta1::";
    let (response, imports, result) = match template.variety {
        Variety::Report => (
            "ReportResult",
            format!("{MODEL}ReportResult;"),
            "        Ok(Response::new(ReportResult {}))",
        ),
        Variety::Check | Variety::CheckWithOutput => (
            "CheckResult",
            format!("{MODEL}CheckResult;"),
            "        // Without a status it is OK; here is where the adapter decides.\n        \
             Ok(Response::new(CheckResult {\n            \
             status: None,\n            \
             valid_duration: Some(prost_types::Duration {\n                \
             seconds: 5,\n                nanos: 0,\n            }),\n            \
             valid_use_count: 1000,\n        }))",
        ),
        Variety::Quota => (
            "QuotaResult",
            format!("{MODEL}{{QuotaResult, quota_result}};"),
            "        // All that is asked for is granted; here is where the adapter decides.\n        \
             let mut result = QuotaResult::default();\n        \
             for (name, wanted) in request.quota_request.unwrap_or_default().quotas {\n            \
             let granted = quota_result::Result {\n                \
             valid_duration: Some(prost_types::Duration {\n                    \
             seconds: 5,\n                    nanos: 0,\n                }),\n                \
             granted_amount: wanted.amount,\n            };\n            \
             result.quotas.insert(name, granted);\n        }\n        \
             Ok(Response::new(result))",
        ),
        Variety::AttributeGenerator => (
            "OutputMsg",
            format!("use protos::{}::OutputMsg;", module(template)),
            "        // Fields that are set become attributes, by the bindings of the instance.\n        \
             Ok(Response::new(OutputMsg::default()))",
        ),
    };
    let instances = match template.variety {
        Variety::Report => "&request.instances",
        _ => "request.instance.iter()",
    };
    vec![
        ("__MODULE__", module(template)),
        ("__CONFIG__", "__PACKAGE__::config".to_owned()),
        ("__INTERFACE__", template.interface.clone()),
        ("__SNAKE__", template.snake()),
        ("__IMPORTS__", imports),
        ("__INSTANCES__", instances.to_owned()),
        ("__RESPONSE__", response.to_owned()),
        ("__RESULT__", result.to_owned()),
        ("__RUN__", "cargo run".to_owned()),
        (
            "__FILES__",
            "| `src/main.rs` | the adapter |\n| `build.rs` | generates code out of `proto` |".to_owned(),
        ),
        ("__MORE__\n", String::new()),
    ]
}

/// Where the code of the template's package is.
fn module(template: &Template) -> String {
    template.package.replace('.', "::")
}
