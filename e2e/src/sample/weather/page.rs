//! The page of `frontend`: one self-contained document.
//!
//! Each box carries in `data-version`, `data-pod` or `data-status` what a test or a script wants to know.

use std::fmt::{self, Display, Formatter};

use super::data::{CITIES, Condition};
use super::frontend::{Ad, Failure, Panel, View};
use super::{Forecast, Recommendation};
use crate::sample::form;
use crate::sample::html::Escaped;
use crate::sample::identity::Identity;

const STYLE: &str = include_str!("page.css");

/// The page. Backends that failed are boxes of their own in it.
pub(super) fn render(view: &View) -> String {
    let View {
        frontend,
        city,
        forecast,
        advertisement,
    } = view;
    let recommendation = match forecast {
        Panel::Content(Forecast {
            recommendation: Some(recommendation),
            ..
        }) => RecommendationBox(recommendation).to_string(),
        Panel::Content(_) | Panel::Failed { .. } => String::new(),
    };
    let Identity { version, pod, .. } = frontend;
    format!(
        r#"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Weather Forecast</title>
<link rel="icon" href="data:,">
<style>
{STYLE}</style>
</head>
<body style="--accent: {accent}" data-version="{version}" data-pod="{pod}">
<header><div>
<h1>{logo}Weather Forecast</h1>
<form method="get">
<select name="city" aria-label="City">{cities}</select>
<button type="submit" class="{color}">Show weather</button>
</form>
</div></header>
<main>
{forecast}{recommendation}{advertisement}</main>
<footer><div><p><i></i>frontend <b>{version}</b> {pod}</p></div></footer>
</body>
</html>
"#,
        accent = button(version).1,
        color = button(version).0,
        logo = icon(Condition::Cloudy),
        cities = Cities(city),
        version = Escaped(version),
        pod = Escaped(pod),
        forecast = Boxed("forecast", "Forecast", forecast),
        advertisement = Boxed("advertisement", "Advertisement", advertisement),
    )
}

/// Name and value of the button's colour, the sign of the frontend's version.
fn button(version: &str) -> (&'static str, &'static str) {
    match version {
        "v1" => ("green", "#1c9a52"),
        "v2" => ("blue", "#1f6feb"),
        _ => ("purple", "#8250df"),
    }
}

struct Cities<'a>(&'a str);

impl Display for Cities<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        for city in &CITIES {
            let selected = if city.name.eq_ignore_ascii_case(self.0) {
                " selected"
            } else {
                ""
            };
            write!(out, "<option{selected}>{}</option>", city.name)?;
        }
        Ok(())
    }
}

/// A backend's box: its content or its failure.
struct Boxed<'a, T>(&'static str, &'static str, &'a Panel<T>);

impl<T> Display for Boxed<'_, T>
where
    T: Content,
{
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let Self(id, title, panel) = self;
        match panel {
            Panel::Content(content) => content.write(out),
            Panel::Failed { error } => write_failure(out, id, title, error),
        }
    }
}

trait Content {
    fn write(&self, out: &mut Formatter<'_>) -> fmt::Result;
}

fn write_failure(out: &mut Formatter<'_>, id: &str, title: &str, failure: &Failure) -> fmt::Result {
    let Failure { status, reason, body } = failure;
    let status = status.map(|status| status.to_string()).unwrap_or_default();
    writeln!(
        out,
        r#"<section class="card error" id="{id}" data-status="{status}">
<div class="top"><h2>{title}</h2><span class="by">failed</span></div>
<p class="status">{status} {reason}</p>"#,
        reason = Escaped(reason),
    )?;
    if !body.is_empty() {
        writeln!(out, "<pre>{}</pre>", Escaped(body))?;
    }
    writeln!(out, "</section>")
}

fn write_top(out: &mut Formatter<'_>, id: &str, title: &str, version: &str, pod: &str) -> fmt::Result {
    let (title, version, pod) = (Escaped(title), Escaped(version), Escaped(pod));
    writeln!(
        out,
        r#"<section class="card" id="{id}" data-version="{version}" data-pod="{pod}">
<div class="top"><h2>{title}</h2><span class="by"><b>{id} {version}</b> {pod}</span></div>"#
    )
}

impl Content for Forecast {
    fn write(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let Self {
            city,
            condition,
            temperature,
            humidity,
            wind,
            days,
            version,
            pod,
            recommendation: _,
        } = self;
        write_top(out, "forecast", city, version, pod)?;
        writeln!(
            out,
            r#"<div class="now">{icon}<div><p class="degrees">{temperature}°</p><p class="sky">{sky}</p></div>
<dl><dt>Humidity</dt><dd>{humidity} %</dd><dt>Wind</dt><dd>{wind}</dd></dl></div>
<ul class="days">"#,
            icon = icon(*condition),
            sky = condition.name(),
            wind = Escaped(wind),
        )?;
        for day in days {
            writeln!(
                out,
                "<li>{}{}{}° <span>{}°</span></li>",
                Escaped(&day.day),
                icon(day.condition),
                day.high,
                day.low
            )?;
        }
        writeln!(out, "</ul></section>")
    }
}

struct RecommendationBox<'a>(&'a Recommendation);

impl Display for RecommendationBox<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let Recommendation {
            clothing,
            activity,
            version,
            pod,
        } = self.0;
        write_top(out, "recommendation", "Recommendation", version, pod)?;
        writeln!(
            out,
            r#"<div class="two"><div><h3>What to wear</h3>{}</div><div><h3>What to do</h3>{}</div></div></section>"#,
            Escaped(clothing),
            Escaped(activity)
        )
    }
}

impl Content for Ad {
    fn write(&self, out: &mut Formatter<'_>) -> fmt::Result {
        write_top(out, "advertisement", "Advertisement", &self.version, &self.pod)?;
        // As an image, not as markup: what a backend sends cannot run in the page.
        writeln!(
            out,
            r#"<img class="ad" alt="Advertisement" src="data:image/svg+xml,{}"></section>"#,
            form::encode(&self.picture)
        )
    }
}

/// A picture of the sky.
fn icon(condition: Condition) -> &'static str {
    match condition {
        Condition::Sunny => include_str!("icons/sunny.svg"),
        Condition::Cloudy => include_str!("icons/cloudy.svg"),
        Condition::Rain => include_str!("icons/rain.svg"),
        Condition::Storm => include_str!("icons/storm.svg"),
        Condition::Snow => include_str!("icons/snow.svg"),
    }
}
