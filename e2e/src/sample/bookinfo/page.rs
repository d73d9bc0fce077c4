//! The pages of `productpage`.

use std::fmt::{self, Display, Formatter};

use axum::http::StatusCode;

use super::productpage::Part;
use super::{Details, Rating, Review, Reviews};
use crate::sample::html::Escaped;
use crate::sample::identity::Identity;

pub(super) const TITLE: &str = "The Comedy of Errors";
pub(super) const DESCRIPTION: &str = "One of <b>Shakespeare</b>'s first plays and his shortest: two pairs of twins, \
    parted at birth, meet in one city without knowing it, and nobody is who he seems to be.";

/// The first page: where to go from here.
pub(super) fn index() -> String {
    document(
        "",
        r#"<section class="card"><h2>Bookinfo</h2>
<p>A page about a book, put together by four services: productpage, details, reviews and ratings.</p>
<p><a class="button" href="/productpage">To the book</a></p></section>
"#,
    )
}

/// The page about the book.
pub(super) fn product(
    identity: &Identity,
    user: Option<&str>,
    details: &Part<Details>,
    reviews: &Part<Reviews>,
) -> String {
    let body = format!(
        r#"<section class="book"><img src="/static/book.svg" alt=""><div><h2>{TITLE}</h2><p>{DESCRIPTION}</p></div></section>
<div class="columns">
{}{}</div>
<footer>productpage <b>{}</b> {}</footer>
"#,
        DetailsBox(details),
        ReviewsBox(reviews),
        Escaped(&identity.version),
        Escaped(&identity.pod),
    );
    document(&Session(user).to_string(), &body)
}

fn document(session: &str, body: &str) -> String {
    format!(
        r#"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Simple Bookstore App</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/static/style.css">
</head>
<body>
<header><div><h1><a href="/productpage">BookInfo Sample</a></h1>{session}</div></header>
<main>
{body}</main>
</body>
</html>
"#
    )
}

/// The corner with the user: a login form, or who is logged in.
struct Session<'a>(Option<&'a str>);

impl Display for Session<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(user) => {
                write!(out, r#"<p class="user"><b>{}</b> <a href="/logout">Sign out</a></p>"#, Escaped(user))
            }
            None => out.write_str(
                r#"<form method="post" action="/login"><input name="username" placeholder="User name" aria-label="User name" required>
<input name="passwd" type="password" placeholder="Any password" aria-label="Password"><button>Sign in</button></form>"#,
            ),
        }
    }
}

struct DetailsBox<'a>(&'a Part<Details>);

impl Display for DetailsBox<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let Details {
            author,
            year,
            binding,
            pages,
            publisher,
            language,
            isbn_10,
            isbn_13,
            id: _,
        } = match self.0 {
            Ok(details) => details,
            Err(status) => return write_failure(out, "details", *status),
        };
        let (pages, year) = (pages.to_string(), year.to_string());
        writeln!(
            out,
            r#"<section class="card" id="details"><h3>Book Details</h3><dl>"#
        )?;
        for (name, value) in [
            ("Author", author),
            ("Year", &year),
            ("Type", binding),
            ("Pages", &pages),
            ("Publisher", publisher),
            ("Language", language),
            ("ISBN-10", isbn_10),
            ("ISBN-13", isbn_13),
        ] {
            writeln!(out, "<dt>{name}</dt><dd>{}</dd>", Escaped(value))?;
        }
        writeln!(out, "</dl></section>")
    }
}

struct ReviewsBox<'a>(&'a Part<Reviews>);

impl Display for ReviewsBox<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let Reviews {
            podname,
            version,
            reviews,
            id: _,
        } = match self.0 {
            Ok(reviews) => reviews,
            Err(status) => return write_failure(out, "reviews", *status),
        };
        let (version, podname) = (Escaped(version), Escaped(podname));
        writeln!(
            out,
            r#"<section class="card" id="reviews" data-version="{version}" data-pod="{podname}"><h3>Book Reviews</h3>"#
        )?;
        for Review {
            reviewer,
            text,
            rating,
        } in reviews
        {
            writeln!(
                out,
                "<blockquote><p>{}</p><cite>{}</cite>{}</blockquote>",
                Escaped(text),
                Escaped(reviewer),
                RatingLine(rating.as_ref())
            )?;
        }
        writeln!(
            out,
            r#"<p class="by">Reviews served by <b>reviews {version}</b> {podname}</p></section>"#
        )
    }
}

struct RatingLine<'a>(Option<&'a Rating>);

impl Display for RatingLine<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => Ok(()),
            Some(Rating::Unavailable { error }) => write!(out, r#"<p class="failed">{}</p>"#, Escaped(error)),
            Some(Rating::Stars { stars, color }) => {
                let full = usize::from(*stars).min(5);
                write!(
                    out,
                    r#"<p class="stars" data-stars="{stars}" data-color="{color}" aria-label="{stars} of 5 stars">{}<span>{}</span></p>"#,
                    "★".repeat(full),
                    "☆".repeat(5 - full),
                    color = Escaped(color),
                )
            }
        }
    }
}

fn write_failure(out: &mut Formatter<'_>, what: &str, status: StatusCode) -> fmt::Result {
    writeln!(
        out,
        r#"<section class="card error" id="{what}" data-status="{}"><h3>Error fetching product {what}!</h3>
<p class="failed">{status}</p><p>Sorry, product {what} are currently unavailable for this book.</p></section>"#,
        status.as_u16()
    )
}
