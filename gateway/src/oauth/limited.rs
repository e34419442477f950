//! How often an address may ask the endpoints that cost something: `/authorize`, `/register`, `/token`, `/revoke`, and the
//! plain ones that do the same work. A login goes through `/authorize`, `/consent` and `/auth/callback`: each of them counts for
//! itself at the rate of the first, so that who may begin one may finish it.
//!
//! Each gateway counts for itself, and gateways that share a store count together, too: as often as one may ask, one may ask
//! the fleet. A store that does not count in time holds nobody up.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use prometheus::IntCounterVec;
use serde_json::json;

use super::page;
use crate::limit::{ClientAddress, Endpoint, Rates, TooOften};
use crate::metrics::Identity;
use crate::store::{Counted, Digest256, Store};

/// A count that takes longer is not waited for.
const DEADLINE: Duration = Duration::from_millis(250);

/// The limits of the endpoints.
#[derive(Debug, Default)]
pub struct Limits {
    authorize: Endpoint,
    consent: Endpoint,
    callback: Endpoint,
    register: Endpoint,
    token: Endpoint,
    device: Endpoint,
    refused: Option<IntCounterVec>,
    alone: Option<IntCounterVec>,
    fleet: Option<Arc<dyn Store>>,
}

impl Limits {
    /// Limits of these rates; what they refuse is counted, and what the fleet did not count.
    #[must_use]
    pub fn new(rates: &Rates, metrics: &Identity) -> Self {
        Self {
            authorize: Endpoint::new(rates.authorize),
            consent: Endpoint::new(rates.authorize),
            callback: Endpoint::new(rates.authorize),
            register: Endpoint::new(rates.register),
            token: Endpoint::new(rates.token),
            device: Endpoint::new(rates.device),
            refused: Some(metrics.limited.clone()),
            alone: Some(metrics.limited_alone.clone()),
            fleet: None,
        }
    }

    /// Counting together with everybody who shares this store.
    #[must_use]
    pub fn with_fleet(self, store: Option<Arc<dyn Store>>) -> Self {
        Self { fleet: store, ..self }
    }

    /// Counts a request of this address to an endpoint.
    async fn count(&self, name: &str, endpoint: &Endpoint, address: ClientAddress) -> Result<(), TooOften> {
        endpoint.check(address)?;
        let Some(store) = &self.fleet else { return Ok(()) };
        // The page and the endpoint of devices are one limit.
        let name = if name == DEVICE_PAGE { "device" } else { name };
        let rates = endpoint.rates();
        let of_address = rates.per_address.map(|rate| (rate, format!("{name}\n{address}")));
        for (rate, of) in of_address.into_iter().chain(rates.total.map(|rate| (rate, name.to_owned()))) {
            let counting = store.count(Digest256::apart("rate", &of), rate.period(), rate.burst.get());
            let why = match tokio::time::timeout(DEADLINE, counting).await {
                Ok(Ok(Counted::TooOften(wait))) => return Err(TooOften(wait)),
                Ok(Ok(Counted::Good | Counted::Elsewhere)) => continue,
                Ok(Err(error)) => error.to_string(),
                Err(_elapsed) => "it does not answer in time".to_owned(),
            };
            // This gateway has counted for itself, and what follows says what is wrong with the store.
            tracing::debug!(%why, "the fleet does not count");
            counted(self.alone.as_ref(), name);
            break;
        }
        Ok(())
    }

    fn of(&self, path: &str) -> Option<(&'static str, &Endpoint)> {
        match path {
            "/authorize" | "/auth/authorize" | "/auth/login" => Some(("authorize", &self.authorize)),
            "/consent" => Some(("consent", &self.consent)),
            "/auth/callback" => Some(("callback", &self.callback)),
            "/register" => Some(("register", &self.register)),
            "/token" | "/revoke" | "/auth/exchange" | "/auth/refresh" | "/auth/logout" => Some(("token", &self.token)),
            "/device_authorization" => Some(("device", &self.device)),
            "/device" => Some((DEVICE_PAGE, &self.device)),
            _ => None,
        }
    }
}

/// Where codes are entered, which are short: what is counted there are tries.
const DEVICE_PAGE: &str = "device_page";

/// Lets a request through when its address may ask now.
pub(super) async fn check(State(limits): State<Arc<Limits>>, request: Request, next: Next) -> Response {
    let Some((name, endpoint)) = limits.of(request.uri().path()) else { return next.run(request).await };
    let address = request.extensions().get().copied().unwrap_or_else(ClientAddress::unknown);
    match limits.count(name, endpoint, address).await {
        Ok(()) => next.run(request).await,
        Err(wait) => {
            counted(limits.refused.as_ref(), name);
            tracing::info!(endpoint = name, "an address asks too often");
            too_often(name, wait)
        }
    }
}

fn counted(series: Option<&IntCounterVec>, endpoint: &str) {
    if let Some(series) = series {
        series.with_label_values(&[endpoint]).inc();
    }
}

/// A page for who sees one, and RFC 6749's shape for the others.
fn too_often(endpoint: &str, wait: TooOften) -> Response {
    const TEXT: &str = "Too many requests. Please try again in a moment.";
    let status = StatusCode::TOO_MANY_REQUESTS;
    let mut response = if matches!(endpoint, "authorize" | "consent" | "callback" | DEVICE_PAGE) {
        page::error(status, "Please wait", TEXT)
    } else {
        (status, Json(json!({ "error": "temporarily_unavailable", "error_description": TEXT }))).into_response()
    };
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait.seconds()));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::limit::{EndpointRates, Rate};
    use crate::metrics::Metrics;
    use crate::store::fresh_redis;

    fn limits(store: Option<&Arc<dyn Store>>) -> Limits {
        // One a minute: none comes back while the test runs.
        let at_once = |burst| Some(Rate { per_minute: NonZeroU32::MIN, burst: NonZeroU32::new(burst).unwrap() });
        let token = EndpointRates { per_address: at_once(3), total: at_once(5) };
        let device = EndpointRates { per_address: at_once(2), total: None };
        let rates = Rates { token, device, ..Rates::default() };
        Limits::new(&rates, &Metrics::new().unwrap().identity).with_fleet(store.cloned())
    }

    /// How many of nine requests are good, of which every other one comes to the other gateway.
    async fn good(gateways: [&Limits; 2], path: &str, address: &str) -> usize {
        let address = ClientAddress::of(address.parse().unwrap());
        let mut good = 0;
        for number in 0..9 {
            let gateway = gateways[number % 2];
            let (name, endpoint) = gateway.of(path).unwrap();
            good += usize::from(gateway.count(name, endpoint, address).await.is_ok());
        }
        good
    }

    #[tokio::test]
    async fn each_step_of_a_login_counts_for_itself_at_the_rate_of_the_first() {
        let at_once = |burst| Some(Rate { per_minute: NonZeroU32::MIN, burst: NonZeroU32::new(burst).unwrap() });
        let authorize = EndpointRates { per_address: at_once(3), total: at_once(5) };
        let limits = Limits::new(&Rates { authorize, ..Rates::default() }, &Metrics::new().unwrap().identity);
        for path in ["/authorize", "/consent", "/auth/callback"] {
            assert_eq!(good([&limits, &limits], path, "203.0.113.1").await, 3, "{path}");
            assert_eq!(good([&limits, &limits], path, "203.0.113.2").await, 2, "{path}: five for everybody");
        }
        assert!(limits.of("/jwks").is_none(), "the control");
    }

    #[tokio::test]
    async fn gateways_of_a_fleet_let_an_address_and_everybody_ask_as_often_as_one_does() {
        let (store, empty) = fresh_redis().await;
        let (one, other) = (limits(Some(&store)), limits(Some(&store)));
        assert_eq!(good([&one, &other], "/token", "203.0.113.1").await, 3);
        assert_eq!(good([&one, &other], "/auth/exchange", "203.0.113.2").await, 2, "five for everybody");
        assert_eq!(good([&one, &other], "/device", "203.0.113.3").await, 2);
        assert_eq!(good([&one, &other], "/device_authorization", "203.0.113.3").await, 0, "one limit");
        let (alone, apart) = (limits(None), limits(None));
        assert_eq!(good([&alone, &apart], "/token", "203.0.113.1").await, 6, "the control: each for itself");
        // A store that cannot count holds nobody up, and each goes on for itself.
        empty();
        let (one, other) = (limits(Some(&store)), limits(Some(&store)));
        assert_eq!(good([&one, &other], "/token", "203.0.113.1").await, 6);
        let alone = |limits: &Limits| limits.alone.as_ref().unwrap().with_label_values(&["token"]).get();
        assert_eq!(alone(&one) + alone(&other), 6, "what the fleet did not count is counted");
    }
}
