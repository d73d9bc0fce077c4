//! `/status/{codes}`: an answer with a status of the caller's choice.

use axum::extract::Path;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::sample::random::Numbers;

const TEAPOT: &str = "
    -=[ teapot ]=-

         ( (
          ) )
       .______.
   ___/        \\___
  (   |        |   )
   \\__|        |__/
       \\______/
";

/// `codes` is one status, or several with optional weights (`200:3,503`) of which one is drawn.
pub(super) async fn status(Path(codes): Path<String>) -> Response {
    match parse(&codes).and_then(|choices| draw(&choices, &mut Numbers::fresh())) {
        Some(status) => answer(status),
        None => (StatusCode::BAD_REQUEST, "Invalid status code").into_response(),
    }
}

fn parse(codes: &str) -> Option<Vec<(StatusCode, u64)>> {
    let choice = |choice: &str| {
        let (code, weight) = choice.split_once(':').unwrap_or((choice, "1"));
        // 1xx is no final answer; a server that sent it would leave the caller waiting.
        let status = code.trim().parse().ok().filter(|code| (200..600).contains(code));
        let weight = weight.trim().parse::<u32>().ok()?;
        Some((StatusCode::from_u16(status?).ok()?, u64::from(weight)))
    };
    codes.split(',').map(choice).collect()
}

fn draw(choices: &[(StatusCode, u64)], numbers: &mut Numbers) -> Option<StatusCode> {
    let total = choices.iter().map(|(_, weight)| weight).sum();
    let mut drawn = numbers.below(total);
    choices.iter().find_map(|(status, weight)| {
        let hit = drawn < *weight;
        drawn = drawn.saturating_sub(*weight);
        hit.then_some(*status)
    })
}

fn answer(status: StatusCode) -> Response {
    let mut response = match status {
        StatusCode::IM_A_TEAPOT => TEAPOT.into_response(),
        StatusCode::PAYMENT_REQUIRED => "Pay first.\n".into_response(),
        _ => ().into_response(),
    };
    *response.status_mut() = status;
    let headers = response.headers_mut();
    match status.as_u16() {
        301 | 302 | 303 | 305 | 307 | 308 => {
            headers.insert(header::LOCATION, HeaderValue::from_static("/redirect/1"));
        }
        401 => {
            headers.insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Basic realm=\"Fake Realm\""),
            );
        }
        407 => {
            headers.insert(
                header::PROXY_AUTHENTICATE,
                HeaderValue::from_static("Basic realm=\"Fake Realm\""),
            );
        }
        _ => (),
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_final_status_is_refused() {
        for codes in ["", "abc", "100", "600", "200,", "200:x", "-1", "99999999999"] {
            assert_eq!(parse(codes), None, "{codes}");
        }
        assert_eq!(draw(&[(StatusCode::OK, 0)], &mut Numbers::seeded(1)), None);
    }

    #[test]
    fn codes_are_drawn_by_weight() {
        let choices = parse("200:3, 503").unwrap();
        let mut numbers = Numbers::seeded(7);
        let ok = (0..4000)
            .filter(|_| draw(&choices, &mut numbers) == Some(StatusCode::OK))
            .count();
        assert!((2800..3200).contains(&ok), "{ok} of 4000");
    }
}
