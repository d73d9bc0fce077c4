use super::*;
use crate::sample::client::BaseUrl;
use crate::sample::echo;
use crate::sample::testing::{TestServer, identity, nobody};
use serde_json::Value;

async fn recommendation() -> TestServer {
    TestServer::start(RecommendationArgs { port: 0 }.router(&identity("recommendation", "v1"))).await
}

async fn forecast(version: &str, recommendation_url: BaseUrl) -> TestServer {
    let args = ForecastArgs {
        port: 0,
        recommendation_url,
    };
    TestServer::start(args.router(&identity("forecast", version))).await
}

async fn advertisement(version: &str, error_percent: u8) -> TestServer {
    let args = AdvertisementArgs {
        port: 0,
        error_percent,
    };
    TestServer::start(args.router(&identity("advertisement", version))).await
}

async fn frontend(version: &str, forecast_url: BaseUrl, advertisement_url: BaseUrl) -> TestServer {
    let args = FrontendArgs {
        port: 0,
        forecast_url,
        advertisement_url,
    };
    TestServer::start(args.router(&identity("frontend", version))).await
}

/// A backend that only ever describes or refuses requests.
async fn double(status: u16) -> TestServer {
    let behaviour = echo::Behaviour {
        status,
        ..echo::Behaviour::default()
    };
    TestServer::start(echo::router(&identity("double", "v1"), behaviour)).await
}

#[tokio::test]
async fn forecast_v1_calls_nobody() {
    let forecast = forecast("v1", nobody().await).await;
    let answer: Value = forecast.get("/weather?city=beijing").await.json();
    assert_eq!(
        (&answer["city"], &answer["version"], &answer["pod"]),
        (&"Beijing".into(), &"v1".into(), &"forecast-v1-0".into())
    );
    assert_eq!(answer.get("recommendation"), None);
    assert_eq!(answer["days"].as_array().map(Vec::len), Some(3));
}

#[tokio::test]
async fn forecast_v2_adds_what_recommendation_says() {
    let recommendation = recommendation().await;
    let forecast = forecast("v2", recommendation.base()).await;
    let answer: Forecast = forecast.get("/weather?city=Harbin").await.json();
    let recommendation = answer.recommendation.unwrap();
    assert_eq!(
        (recommendation.version.as_str(), recommendation.pod.as_str()),
        ("v1", "recommendation-v1-0")
    );
    assert_eq!(recommendation.clothing, "Winter coat, hat and gloves");
}

#[tokio::test]
async fn ex_1119_a_failing_recommendation_is_the_failure_of_forecast() {
    for status in [500, 503, 403, 429] {
        let double = double(status).await;
        let forecast = forecast("v2", double.base()).await;
        let answer = forecast.get("/weather").await;
        assert_eq!(answer.status, status);
        assert!(
            answer.json::<Value>()["error"]
                .as_str()
                .unwrap()
                .starts_with("recommendation answered")
        );
    }
    assert_eq!(
        forecast("v2", nobody().await).await.get("/weather").await.status,
        502
    );
}

#[tokio::test]
async fn the_page_shows_the_whole_chain_with_v2() {
    let (recommendation, advertisement) = (recommendation().await, advertisement("v1", 0).await);
    let forecast = forecast("v2", recommendation.base()).await;
    let frontend = frontend("v1", forecast.base(), advertisement.base()).await;

    let page = frontend.get("/?city=London").await;
    assert_eq!(page.status, 200);
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    let page = page.text();
    for part in [
        r#"data-version="v1" data-pod="frontend-v1-0">"#,
        r#"class="green""#,
        "<option selected>London</option>",
        r#"id="forecast" data-version="v2" data-pod="forecast-v2-0""#,
        r#"id="recommendation" data-version="v1" data-pod="recommendation-v1-0""#,
        r#"id="advertisement" data-version="v1" data-pod="advertisement-v1-0""#,
        "data:image/svg+xml,%3Csvg",
    ] {
        assert!(page.contains(part), "{part} is not in {page}");
    }

    let api: Value = frontend.get("/api/weather?city=London").await.json();
    assert_eq!(api["forecast"]["version"], "v2");
    assert_eq!(api["forecast"]["recommendation"]["pod"], "recommendation-v1-0");
    assert_eq!(api["advertisement"]["pod"], "advertisement-v1-0");
}

#[tokio::test]
async fn the_page_has_no_recommendation_with_v1_and_a_blue_button_in_v2() {
    let advertisement = advertisement("v1", 0).await;
    let forecast = forecast("v1", nobody().await).await;
    let frontend = frontend("v2", forecast.base(), advertisement.base()).await;
    let page = frontend.get("/").await;
    let page = page.text();
    assert!(page.contains(r#"id="forecast" data-version="v1""#));
    assert!(page.contains(r#"class="blue""#));
    assert!(!page.contains(r#"id="recommendation""#));
}

#[tokio::test]
async fn failing_backends_are_boxes_of_a_page_that_is_fine() {
    let (failing, nobody) = (double(503).await, nobody().await);
    let frontend = frontend("v1", failing.base(), nobody).await;
    let page = frontend.send("GET", "/?city=%3Cscript%3E", &[], "").await;
    assert_eq!(page.status, 200);
    let page = page.text();
    assert!(
        page.contains(r#"<section class="card error" id="forecast" data-status="503">"#),
        "{page}"
    );
    assert!(page.contains("503 Service Unavailable"), "{page}");
    // The body, as text: the double answers with JSON.
    assert!(page.contains("&quot;app&quot;:&quot;double&quot;"), "{page}");
    assert!(
        page.contains(r#"<section class="card error" id="advertisement" data-status="">"#),
        "{page}"
    );
    assert!(page.contains("Connection refused"), "{page}");
    assert!(!page.contains("<script>"));

    let api: Value = frontend.get("/api/weather").await.json();
    assert_eq!(api["forecast"]["error"]["status"], 503);
    assert_eq!(api["advertisement"]["error"]["status"], Value::Null);
}

#[tokio::test]
async fn an_answer_of_the_wrong_kind_is_a_failure() {
    let double = double(200).await;
    let frontend = frontend("v1", double.base(), double.base()).await;
    let page = frontend.get("/").await;
    assert!(page.text().contains(r#"id="forecast" data-status="200""#));
    assert!(page.text().contains("not a picture"));
}

#[tokio::test]
async fn backends_are_called_by_their_name_with_the_headers_of_the_request() {
    let double = double(500).await;
    let frontend = frontend("v1", double.base(), double.base()).await;
    let headers = [
        ("x-request-id", "id-1"),
        ("x-b3-traceid", "trace-1"),
        ("cookie", "user=tester"),
        ("user-agent", "Chrome/1"),
        ("x-envoy-attempt-count", "3"),
    ];
    let api: Value = frontend
        .send("GET", "/api/weather?city=S%C3%A3o%20Paulo", &headers, "")
        .await
        .json();
    let seen: echo::Echo = serde_json::from_str(api["forecast"]["error"]["body"].as_str().unwrap()).unwrap();
    assert_eq!(seen.host, double.authority());
    assert_eq!(
        (seen.path.as_str(), seen.query.as_str()),
        ("/weather", "city=S%C3%A3o%20Paulo")
    );
    for (name, value) in &headers[..4] {
        assert_eq!(seen.headers[*name], *value);
    }
    assert!(!seen.headers.contains_key("x-envoy-attempt-count"));
}

#[tokio::test]
async fn advertisement_is_a_picture_and_fails_by_share() {
    let advertisement = advertisement("v2", 0).await;
    let answer = advertisement.get("/ad").await;
    assert_eq!(answer.header("content-type"), "image/svg+xml");
    assert!(answer.text().starts_with("<svg") && answer.text().contains("advertisement v2"));
    assert_eq!(answer.header("x-sample-version"), "v2");
    assert_eq!(advertisement.get("/maintenanced").await.status, 404);
    assert_eq!(advertisement.get("/healthz").await.text(), "ok\n");
    assert_eq!(self::advertisement("v3", 100).await.get("/ad").await.status, 500);
}

#[tokio::test]
async fn recommendations_follow_the_weather() {
    let recommendation = recommendation().await;
    for (query, clothing) in [
        ("", "A light jacket or a sweater, and sunglasses"),
        ("?condition=rain&temperature=30", "Light clothes, and an umbrella"),
        ("?condition=storm&temperature=10", "A warm jacket, and a raincoat"),
    ] {
        assert_eq!(
            recommendation
                .get(&format!("/activity{query}"))
                .await
                .json::<Value>()["clothing"],
            clothing
        );
    }
    assert_eq!(recommendation.get("/activity?condition=hail").await.status, 400);
}
