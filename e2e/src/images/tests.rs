use super::*;

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

/// Entry number (from 1) of the first pattern that matches, with the captured names in `argv`.
fn matched(patterns: &[&str], image: &str) -> Option<String> {
    let table: String = patterns
        .iter()
        .enumerate()
        .map(|(at, it)| format!("- {{image: {it:?}, cmd: ['{}']}}\n", at + 1))
        .collect();
    let command = Images::parse(&table).unwrap().resolve(image, &[], &[])?;
    Some(command.argv.concat())
}

fn error(table: &str) -> String {
    Images::parse(table).unwrap_err().to_string()
}

fn built_in(image: &str, command: &[&str], args: &[&str]) -> Vec<String> {
    let images = Images::parse(BUILT_IN).unwrap();
    images
        .resolve(image, &words(command), &words(args))
        .unwrap_or_else(|| panic!("{image}"))
        .argv
}

#[test]
fn images_are_completed_like_a_runtime_does() {
    for (pattern, image, matches) in [
        (
            "kennethreitz/httpbin",
            "docker.io/kennethreitz/httpbin:latest",
            true,
        ),
        ("docker.io/kennethreitz/httpbin", "kennethreitz/httpbin", true),
        ("busybox", "docker.io/library/busybox:1.36", true),
        ("busybox", "someone/busybox", false),
        ("a/b", "quay.io/a/b", false),
        ("*/a/b", "quay.io/a/b:1", true),
        ("*/a/b", "a/b", true),
        ("*/a/b", "quay.io/x/a/b", false),
        ("localhost:5000/*/b:v1", "localhost:5000/a/b:v1", true),
        ("localhost/b", "localhost/b", true),
        ("a/b:latest", "a/b", true),
        ("a/b:latest", "a/b:v1", false),
        ("a/b:v*", "a/b:v1.2", true),
        ("a/b:v1", "a/b:v1@sha256:0123", true),
        ("a/b", "a/b@sha256:0123", true),
        ("a/b*", "a/b/c", false),
        ("**/c:*", "registry.local:5000/a/b/c:1", true),
        ("**", "anything/at:all", true),
        ("a/b", "", false),
        ("a/b", ":", false),
    ] {
        assert_eq!(matched(&[pattern], image).is_some(), matches, "{pattern} {image}");
    }
}

#[test]
fn the_first_match_decides() {
    let patterns = ["a/b:v2", "a/*", "a/b:v1"];
    assert_eq!(matched(&patterns, "a/b:v2").as_deref(), Some("1"));
    assert_eq!(matched(&patterns, "a/b:v1").as_deref(), Some("2"));
    assert_eq!(matched(&patterns, "b/b:v1"), None);
}

#[test]
fn captures_fill_every_template() {
    let table = r#"
- image: "shop/{app}-{release}:{tag}"
  entrypoint: [run, "{app}"]
  cmd: ["--json={\"a\": {}}", "{release}/{tag}"]
  env: {VERSION: "{release}"}
  programs: {"/app": ["{app}", "{args}", end]}
"#;
    let images = Images::parse(table).unwrap();
    // A run takes as little as it can: the first dash divides.
    let command = images.resolve("shop/cart-v-slow:1.0", &[], &[]).unwrap();
    assert_eq!(command.argv, ["run", "cart", r#"--json={"a": {}}"#, "v-slow/1.0"]);
    assert_eq!(command.env, [("VERSION".to_owned(), "v-slow".to_owned())].into());
    let command = images
        .resolve("shop/cart-v2:1.0", &words(&["/app", "x"]), &words(&["y"]))
        .unwrap();
    assert_eq!(command.argv, ["cart", "x", "y", "end"]);
}

#[test]
fn command_and_args_have_kubernetes_meaning() {
    let table =
        "- {image: a, entrypoint: [entry, '1'], cmd: [word], programs: {/bin/p: [stand-in, '{args}']}}";
    let images = Images::parse(table).unwrap();
    for (command, args, want) in [
        (&[][..], &[][..], &["entry", "1", "word"][..]),
        (&[], &["x"], &["entry", "1", "x"]),
        (&["/bin/sh", "-c"], &["true"], &["/bin/sh", "-c", "true"]),
        (&["/bin/sh"], &[], &["/bin/sh"]),
        (&["/bin/p"], &["x", "y"], &["stand-in", "x", "y"]),
        (&["/bin/p"], &[], &["stand-in"]),
    ] {
        let got = images.resolve("a", &words(command), &words(args)).unwrap();
        assert_eq!(got.argv, want, "{command:?} {args:?}");
    }
}

#[test]
fn mistakes_in_the_table_are_named() {
    for (table, want) in [
        (
            "- {image: a}",
            r#"image table entry 1 ("a"): entrypoint and cmd are both empty"#,
        ),
        (
            "- {image: '', cmd: [x]}",
            r#"image table entry 1: pattern "": empty"#,
        ),
        (
            "- {image: 'a/{x', cmd: [x]}",
            r#"image table entry 1: pattern "a/{x": brace without its end"#,
        ),
        (
            "- {image: 'a/{x}{x}', cmd: [x]}",
            r#"image table entry 1: pattern "a/{x}{x}": captures one name twice"#,
        ),
        (
            "[{image: b, cmd: [x]}, {image: 'a/{v}', cmd: [x, '{w}']}]",
            r#"image table entry 2 ("a/{v}"): cmd[1]: {w} is not captured by the pattern"#,
        ),
        (
            "- {image: a, cmd: [x], env: {V: '{v}'}}",
            r#"image table entry 1 ("a"): env.V: {v} is not captured by the pattern"#,
        ),
        (
            "- {image: a, cmd: [x], programs: {p: ['{args}']}}",
            r#"image table entry 1 ("a"): programs.p: no program to run"#,
        ),
    ] {
        assert_eq!(error(table), want);
    }
    for table in [
        "- {image: a, command: [x]}",
        "image: a",
        "- [",
        "- {image: 1, cmd: {}}",
    ] {
        assert!(error(table).starts_with("image table: "), "{table}");
    }
}

#[test]
fn the_images_of_the_book_are_known() {
    for (image, argv, version) in [
        (
            "istioweather/frontend:v2",
            &["mesh-sample", "frontend"][..],
            Some("v2"),
        ),
        (
            "docker.io/istioweather/forecast:v1",
            &["mesh-sample", "forecast"],
            Some("v1"),
        ),
        (
            "istioweather/advertisement:v1",
            &["mesh-sample", "advertisement"],
            Some("v1"),
        ),
        (
            "istioweather/advertisement:v3",
            &["mesh-sample", "advertisement", "--error-percent", "50"],
            Some("v3"),
        ),
        (
            "istioweather/recommendation:v1",
            &["mesh-sample", "recommendation"],
            Some("v1"),
        ),
        (
            "docker.io/istio/examples-bookinfo-productpage-v1:1.10.1",
            &["mesh-sample", "productpage"],
            Some("v1"),
        ),
        (
            "istio/examples-bookinfo-details-v1:1.16.2",
            &["mesh-sample", "details"],
            Some("v1"),
        ),
        (
            "docker.io/istio/examples-bookinfo-reviews-v3:1.10.1",
            &["mesh-sample", "reviews"],
            Some("v3"),
        ),
        (
            "registry.local/istio/examples-bookinfo-ratings-v1",
            &["mesh-sample", "ratings"],
            Some("v1"),
        ),
        (
            "kennethreitz/httpbin",
            &["mesh-sample", "httpbin", "--port", "80"],
            None,
        ),
        (
            "docker.io/istio/tcp-echo-server:1.2",
            &["mesh-sample", "tcp-echo", "9000", "hello"],
            None,
        ),
        ("governmentpaas/curl-ssl", &["mesh-sample", "sleep"], None),
        ("pstauffer/curl", &["mesh-sample", "sleep"], None),
        ("istio-rs/echo:v2", &["mesh-sample", "echo"], Some("v2")),
    ] {
        assert_eq!(built_in(image, &[], &[]), argv, "{image}");
        let command = Images::parse(BUILT_IN).unwrap().resolve(image, &[], &[]).unwrap();
        assert_eq!(command.env.get("VERSION").map(String::as_str), version, "{image}");
    }
    // The proxy is not an application: whoever runs pods starts it from the injected template.
    assert_eq!(
        Images::parse(BUILT_IN)
            .unwrap()
            .resolve("docker.io/istio/proxyv2:1.1.17", &[], &[]),
        None
    );
}

#[test]
fn a_containers_own_words_keep_their_meaning() {
    let sleep = ["mesh-sample", "sleep", "3650d"];
    assert_eq!(built_in("curlimages/curl", &["/bin/sleep", "3650d"], &[]), sleep);
    assert_eq!(built_in("pstauffer/curl", &["sleep"], &["3650d"]), sleep);
    assert_eq!(
        built_in("governmentpaas/curl-ssl", &["/bin/sh", "-c"], &["curl -s x"]),
        ["/bin/sh", "-c", "curl -s x"]
    );
    let echo = ["mesh-sample", "tcp-echo", "9000,9001", "one"];
    assert_eq!(
        built_in("istio/tcp-echo-server:1.2", &[], &["9000,9001", "one"]),
        echo
    );
    assert_eq!(
        built_in(
            "istio/tcp-echo-server:1.2",
            &["/bin/tcp-echo"],
            &["9000,9001", "one"]
        ),
        echo
    );
    assert_eq!(
        built_in(
            "docker.io/kennethreitz/httpbin",
            &["gunicorn", "-b", "0.0.0.0:8080", "httpbin:app"],
            &[]
        ),
        [
            "mesh-sample",
            "httpbin",
            "--gunicorn",
            "-b",
            "0.0.0.0:8080",
            "httpbin:app"
        ]
    );
}
