use super::*;
use crate::sample::client::BaseUrl;
use crate::sample::echo;
use crate::sample::testing::{TestServer, identity, nobody};
use serde_json::{Value, json};

async fn details() -> TestServer {
    TestServer::start(DetailsArgs { port: 0 }.router(&identity("details", "v1"))).await
}

async fn ratings() -> TestServer {
    TestServer::start(RatingsArgs { port: 0 }.router(&identity("ratings", "v1"))).await
}

async fn reviews(version: &str, ratings_url: BaseUrl) -> TestServer {
    let args = ReviewsArgs { port: 0, ratings_url };
    TestServer::start(args.router(&identity("reviews", version))).await
}

async fn productpage(details_url: BaseUrl, reviews_url: BaseUrl, ratings_url: BaseUrl) -> TestServer {
    let args = ProductpageArgs {
        port: 0,
        details_url,
        reviews_url,
        ratings_url,
    };
    TestServer::start(args.router(&identity("productpage", "v1"))).await
}

async fn double(status: u16) -> TestServer {
    let behaviour = echo::Behaviour {
        status,
        ..echo::Behaviour::default()
    };
    TestServer::start(echo::router(&identity("double", "v1"), behaviour)).await
}

#[tokio::test]
async fn details_and_ratings_answer_in_the_shape_of_the_sample() {
    let answer: Value = details().await.get("/details/0").await.json();
    assert_eq!(answer["id"], 0);
    assert_eq!(answer["ISBN-10"], "1234567890");
    assert_eq!(answer["type"], "paperback");

    let ratings = ratings().await;
    let before: Value = ratings.get("/ratings/0").await.json();
    assert_eq!(
        before,
        json!({"id": 0, "ratings": {"Reviewer1": 5, "Reviewer2": 4}})
    );
    let json = [("content-type", "application/json")];
    assert_eq!(
        ratings
            .send("POST", "/ratings/0", &json, r#"{"Reviewer1": 9}"#)
            .await
            .status,
        200
    );
    assert_eq!(
        ratings.get("/ratings/0").await.json::<Value>()["ratings"],
        json!({"Reviewer1": 5})
    );
    assert_eq!(
        ratings.get("/ratings/1").await.json::<Value>()["ratings"]["Reviewer2"],
        4
    );
    assert_eq!(ratings.get("/ratings/x").await.status, 400);
}

#[tokio::test]
async fn reviews_have_no_black_or_red_stars_by_version() {
    let ratings = ratings().await;
    for (version, want) in [
        ("v1", Value::Null),
        ("v2", json!({"stars": 5, "color": "black"})),
        ("v3", json!({"stars": 5, "color": "red"})),
    ] {
        let answer: Value = reviews(version, ratings.base())
            .await
            .get("/reviews/0")
            .await
            .json();
        assert_eq!(answer["reviews"][0]["rating"], want, "{version}");
        assert_eq!(answer["podname"], format!("reviews-{version}-0"));
        assert_eq!(answer["id"], "0");
    }
}

#[tokio::test]
async fn reviews_without_ratings_say_so() {
    for ratings in [nobody().await, double(500).await.base()] {
        let answer = reviews("v2", ratings).await.get("/reviews/0").await;
        assert_eq!(answer.status, 200);
        assert_eq!(
            answer.json::<Value>()["reviews"][1]["rating"],
            json!({"error": "Ratings service is currently unavailable"})
        );
    }
}

#[tokio::test]
async fn the_page_is_put_together_from_all_services() {
    let (details, ratings) = (details().await, ratings().await);
    let reviews = reviews("v3", ratings.base()).await;
    let shop = productpage(details.base(), reviews.base(), ratings.base()).await;
    let page = shop.get("/productpage").await;
    assert_eq!(page.status, 200);
    for part in [
        "<title>Simple Bookstore App</title>",
        "The Comedy of Errors",
        "<dd>William Shakespeare</dd>",
        r#"id="reviews" data-version="v3" data-pod="reviews-v3-0""#,
        r#"data-stars="5" data-color="red""#,
        "★★★★<span>☆</span>",
        r#"action="/login""#,
    ] {
        assert!(page.text().contains(part), "{part} is not in {}", page.text());
    }
    let api = async |path| shop.get(path).await.json::<Value>();
    assert_eq!(api("/api/v1/products").await[0]["title"], "The Comedy of Errors");
    assert_eq!(api("/api/v1/products/0").await["author"], "William Shakespeare");
    assert_eq!(
        api("/api/v1/products/0/reviews").await["reviews"][0]["rating"]["color"],
        "red"
    );
    assert_eq!(api("/api/v1/products/0/ratings").await["ratings"]["Reviewer1"], 5);
    assert_eq!(
        shop.get("/static/style.css").await.header("content-type"),
        "text/css"
    );
    assert_eq!(
        shop.get("/static/book.svg").await.header("content-type"),
        "image/svg+xml"
    );
    assert!(shop.get("/").await.text().contains("/productpage"));
}

#[tokio::test]
async fn failing_backends_are_boxes_of_a_page_that_is_fine() {
    let failing = double(503).await;
    let shop = productpage(nobody().await, failing.base(), nobody().await).await;
    let page = shop.get("/productpage").await;
    assert_eq!(page.status, 200);
    assert!(page.text().contains("Error fetching product details!"));
    assert!(page.text().contains(r#"id="reviews" data-status="503""#));
    assert_eq!(shop.get("/api/v1/products/0").await.status, 500);
    let reviews = shop.get("/api/v1/products/0/reviews").await;
    assert_eq!(reviews.status, 503);
    assert_eq!(
        reviews.json::<Value>(),
        json!({"error": "Sorry, product reviews are currently unavailable for this book."})
    );
    // One call of the page, one of the API, two tries each.
    assert_eq!(failing.get("/control").await.json::<echo::Control>().requests, 4);
}

#[tokio::test]
async fn a_user_who_logs_in_travels_as_end_user() {
    let (double, details) = (double(200).await, details().await);
    let shop = productpage(details.base(), double.base(), double.base()).await;
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let login = shop
        .send("POST", "/login", &form, "username=jason&passwd=x")
        .await;
    assert_eq!(
        (login.status.as_u16(), login.header("location")),
        (302, "/productpage")
    );
    let cookie = login.header("set-cookie").split(';').next().unwrap();
    assert_eq!(cookie, "session=jason");

    let seen: echo::Echo = shop
        .send("GET", "/api/v1/products/0/reviews", &[("cookie", cookie)], "")
        .await
        .json();
    assert_eq!(seen.headers["end-user"], "jason");
    assert_eq!(seen.path, "/reviews/0");
    let seen: echo::Echo = shop.get("/api/v1/products/0/ratings").await.json();
    assert_eq!(seen.headers.get("end-user"), None);

    let page = shop
        .send("GET", "/productpage", &[("cookie", "session=%3Cb%3Ejason")], "")
        .await;
    assert!(page.text().contains("<b>&lt;b&gt;jason</b>"));
    assert!(page.text().contains(r#"href="/logout""#));
    let logout = shop.get("/logout").await;
    assert_eq!(logout.status, 302);
    assert!(logout.header("set-cookie").contains("Max-Age=0"));
}
