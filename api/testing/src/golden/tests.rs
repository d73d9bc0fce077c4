use mesh_api::envoy::config::cluster::v3::Cluster;
use serde_json::json;

use super::*;

fn case(files: &[(&str, &str)]) -> (tempfile::TempDir, Case) {
    let folder = tempfile::tempdir().unwrap();
    for (file, text) in files {
        let path = folder.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let case = Case {
        name: "case".to_owned(),
        folder: folder.path().to_owned(),
    };
    (folder, case)
}

#[test]
fn yaml_reads_as_people_write_it() {
    let value = json!([
        {
            "zeta": 1,
            "name": "outbound|9080|v1|reviews.default.svc.cluster.local",
            "address": {"socketAddress": {"address": "127.0.0.1", "portValue": 15001}},
            "empty": {}, "none": null, "list": [],
            "domains": ["*", "a.com", "a.com:80"],
            "timeout": "0.500s", "numeric": "15001", "version": "1.0", "word": "yes",
            "matrix": [[1, 2], ["x"]],
            "text": "line 1\nline: 2\n",
            "colon: ": "a: b", "regex": "^a.*$"
        },
        "last"
    ]);
    assert_eq!(
        to_yaml(&value),
        r#"- name: outbound|9080|v1|reviews.default.svc.cluster.local
  address:
    socketAddress:
      address: 127.0.0.1
      portValue: 15001
  "colon: ": "a: b"
  domains:
  - "*"
  - a.com
  - a.com:80
  empty: {}
  list: []
  matrix:
  - - 1
    - 2
  - - x
  none: null
  numeric: "15001"
  regex: "^a.*$"
  text: |
    line 1
    line: 2
  timeout: 0.500s
  version: "1.0"
  word: "yes"
  zeta: 1
- last
"#
    );
}

mod round_trip {
    use proptest::prelude::*;

    use super::*;

    fn value() -> impl Strategy<Value = Value> {
        let text = prop_oneof![
            "\\PC{0,12}",
            "[ a:#\\-\n'\"|>*&!%@`{}\\[\\],?~.0-9]{0,8}",
            "[a-z0-9:.\n]{0,8}\n{0,3}",
            Just("0x1f".to_owned()),
            Just("1:30".to_owned()),
            Just("2019-03-19".to_owned()),
            Just("0o7".to_owned()),
            Just("1_000".to_owned()),
        ];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            (-1e6..1e6_f64).prop_map(Value::from),
            text.clone().prop_map(Value::String),
        ];
        leaf.prop_recursive(4, 24, 4, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
                proptest::collection::btree_map(text.clone(), inner, 0..4)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(value in value()) {
            let text = to_yaml(&json!([value]));
            let read = parsed("f", &text).map_err(|error| TestCaseError::fail(format!("{error}\n{text}")))?;
            prop_assert_eq!(read, json!([value]), "{}", text);
        }
    }
}

#[test]
fn equal_content_passes_whatever_its_form() {
    let (_folder, case) = case(&[
        ("want/a.yaml", "# by hand\n- {weight: 100.0, name: x}\n"),
        ("want/b.txt", "b"),
    ]);
    let produced = Produced::default()
        .value("want/a.yaml", json!([{"name": "x", "weight": 100}]))
        .text("want/b.txt", "b");
    assert_eq!(case.compare(&produced), Ok(()));
    case.update(&produced).unwrap();
    assert_eq!(
        case.read("want/a.yaml").unwrap(),
        "# by hand\n- {weight: 100.0, name: x}\n"
    );
}

#[test]
fn differences_are_shown_as_a_diff_and_accepted_by_an_update() {
    let (_folder, case) = case(&[("want/a.yaml", "- name: x\n  port: 80\n")]);
    let produced = Produced::default().value("want/a.yaml", json!([{"name": "x", "port": 81}]));
    assert_eq!(
        case.compare(&produced).unwrap_err(),
        "--- want/a.yaml (wanted)\n+++ produced\n@@ -1,2 +1,2 @@\n - name: x\n-  port: 80\n+  port: 81\nto accept: \
         UPDATE_GOLDEN=1"
    );
    case.update(&produced).unwrap();
    assert_eq!(case.compare(&produced), Ok(()));
    assert_eq!(case.read("want/a.yaml").unwrap(), "- name: x\n  port: 81\n");
}

#[test]
fn long_differences_are_cut() {
    let (_folder, case) = case(&[("want/a.txt", "x")]);
    let produced = Produced::default().text("want/a.txt", "line\n".repeat(100));
    let shown = case.compare(&produced).unwrap_err();
    assert_eq!(shown.lines().count(), SHOWN_LINES + 2);
    assert!(shown.contains("… and "), "{shown}");
}

#[test]
fn missing_and_extra_files_fail_and_an_update_mends_them() {
    let (_folder, case) = case(&[("in.yaml", ""), ("want/gone.yaml", "1"), ("warnings.txt", "old")]);
    let produced = Produced::default()
        .value("want/new.yaml", json!(1))
        .text("warnings.txt", "")
        .nothing("patched.yaml");
    assert_eq!(
        case.compare(&produced).unwrap_err(),
        "want/new.yaml is missing\nwant/gone.yaml is there, but nothing produces it\nwarnings.txt is there, but \
         nothing produces it\nto accept: UPDATE_GOLDEN=1"
    );
    case.update(&produced).unwrap();
    assert_eq!(case.compare(&produced), Ok(()));
    assert!(case.folder.join("in.yaml").exists());
    assert!(!case.folder.join("want/gone.yaml").exists());
}

#[test]
fn a_partial_case_is_about_what_it_names() {
    let (_folder, case) = case(&[("want/clusters.yaml", "- name: b\n  x: 1\n")]);
    let produced = |x: i32| {
        Produced::default()
            .value(
                "want/clusters.yaml",
                json!([{"name": "a"}, {"name": "b", "x": x}]),
            )
            .value("want/routes.yaml", json!([]))
            .partial(true)
    };
    assert_eq!(case.compare(&produced(1)), Ok(()));
    assert!(case.compare(&produced(2)).unwrap_err().contains("+  x: 2"));
    case.update(&produced(2)).unwrap();
    assert_eq!(case.read("want/clusters.yaml").unwrap(), "- name: b\n  x: 2\n");
    assert!(!case.folder.join("want/routes.yaml").exists());

    let without = Produced::default()
        .value("want/clusters.yaml", json!([{"name": "a"}]))
        .partial(true);
    assert!(case.compare(&without).is_err());
}

#[test]
fn resources_are_sorted_into_files_by_type_and_name() {
    let cluster = |name: &str| {
        Any::pack(&Cluster {
            name: name.to_owned(),
            ..Cluster::default()
        })
    };
    let (_folder, case) = case(&[("want/clusters.yaml", "- name: a\n- name: b\n")]);
    let produced = Produced::default().xds(&[cluster("b"), cluster("a")]).unwrap();
    assert_eq!(case.compare(&produced), Ok(()));
    let unknown = Any {
        type_url: "x/y".to_owned(),
        value: Default::default(),
    };
    assert!(Produced::default().xds(&[unknown]).is_err());
}

#[test]
fn a_case_reads_its_files() {
    let (_folder, case) = case(&[("in.yaml", "a: 1\n---\nb: 2\n"), ("bad.yaml", "a: [")]);
    assert_eq!(case.documents("in.yaml").unwrap().len(), 2);
    assert_eq!(case.value("in.yaml").unwrap(), json!({"a": 1}));
    assert_eq!(case.read_if_present("nothing").unwrap(), None);
    assert!(case.read("nothing").unwrap_err().contains("nothing"));
    assert_eq!(
        case.documents("bad.yaml").unwrap_err(),
        "bad.yaml:1: unclosed bracket '['"
    );
}

use mesh_api::Any;
