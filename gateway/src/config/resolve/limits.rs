//! Sizes, rates, and whose word on a client's address counts.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use serde_saphyr::Spanned;

use super::values::Resolver;
use super::{MIB, budgets};
use crate::config::document::{self, Text};
use crate::config::settings::Limits;
use crate::limit::{EndpointRates, Rate, Rates, TrustedProxies};

/// As long as a withdrawn key may still work.
const MAX_TOKEN_CACHE: Duration = Duration::from_secs(60);
const CALLS: usize = 100;
/// Per minute, of one address and of everybody. Hosted clients come from few addresses, and refresh often.
const AUTHORIZE: (usize, usize) = (60, 3000);
const REGISTER: (usize, usize) = (30, 600);
const TOKEN: (usize, usize) = (300, 6000);
/// Codes are short, and live for ten minutes: so few tries find none of them.
const DEVICE: (usize, usize) = (20, 120);
/// More is no limit any more.
const MAX_RATE: usize = 1_000_000;

pub(super) fn resolve(resolver: &mut Resolver<'_>, written: &document::Limits) -> Limits {
    let token_cache = resolver.duration(written.token_cache.as_ref(), MAX_TOKEN_CACHE);
    if token_cache > MAX_TOKEN_CACHE {
        let message = "a verified token is remembered for at most `60s`, because a withdrawn key works as long";
        resolver.fault(written.token_cache.as_ref(), message);
    }
    let request_body = resolver.size(written.request_body.as_ref(), 4 * MIB, 1024..=64 * MIB);
    let answer_body = resolver.size(written.answer_body.as_ref(), 16 * MIB, 1024..=64 * MIB);
    Limits {
        request_body,
        answer_body,
        list_cache: resolver.size(written.list_cache.as_ref(), 64 * MIB, 0..=4096 * MIB),
        token_cache,
        rates: Rates {
            calls: calls(resolver, written),
            authorize: endpoint(resolver, &written.authorize, AUTHORIZE),
            register: endpoint(resolver, &written.register, REGISTER),
            token: endpoint(resolver, &written.token, TOKEN),
            device: endpoint(resolver, &written.device, DEVICE),
        },
        budgets: budgets::budgets(resolver, written, request_body, answer_body),
        deadlines: budgets::deadlines(resolver, written),
    }
}

fn calls(resolver: &mut Resolver<'_>, written: &document::Limits) -> Option<Rate> {
    let rate = rate(resolver, written.calls_per_minute.as_ref(), CALLS)?;
    let burst = count(resolver, written.call_burst.as_ref(), 1..=MAX_RATE).and_then(Rate::per_minute);
    Some(Rate { burst: burst.map_or(rate.burst, |burst| burst.burst), ..rate })
}

fn endpoint(
    resolver: &mut Resolver<'_>,
    written: &document::EndpointRates,
    (per_address, total): (usize, usize),
) -> EndpointRates {
    EndpointRates {
        per_address: rate(resolver, written.per_address.as_ref(), per_address),
        total: rate(resolver, written.total.as_ref(), total),
    }
}

/// So many a minute; none for 0.
fn rate(resolver: &mut Resolver<'_>, written: Option<&Spanned<usize>>, default: usize) -> Option<Rate> {
    let default = u32::try_from(default).unwrap_or(u32::MAX);
    let count = if written.is_some() { count(resolver, written, 0..=MAX_RATE)? } else { default };
    Rate::per_minute(count)
}

fn count(
    resolver: &mut Resolver<'_>,
    written: Option<&Spanned<usize>>,
    range: std::ops::RangeInclusive<usize>,
) -> Option<u32> {
    let written = written?;
    if !range.contains(&written.value) {
        let message = format!("`{}` is out of range; write {} to {}", written.value, range.start(), range.end());
        resolver.push(crate::config::Fault::at(written.referenced, message));
        return None;
    }
    u32::try_from(written.value).ok()
}

pub(super) fn trusted_proxies(
    resolver: &mut Resolver<'_>,
    server: &document::Server,
    public_url: &str,
) -> TrustedProxies {
    let written: &[Text] = &server.trusted_proxies;
    let mut networks = Vec::with_capacity(written.len());
    for text in written {
        let Some(value) = resolver.text(text) else { continue };
        let network = value.parse::<IpNet>().or_else(|_error| value.parse::<IpAddr>().map(IpNet::from));
        match network {
            Ok(network) if network.prefix_len() == 0 => {
                resolver.fault(Some(text), "everybody is no proxy; write the network of your TLS terminator");
            }
            Ok(network) => networks.push(network),
            Err(_) => {
                let message = format!("`{value}` is no network; write `10.0.0.0/8` or an address");
                resolver.fault(Some(text), message);
            }
        }
    }
    // Without TLS of its own, who is reached by https is behind something.
    if server.tls.is_none() && networks.is_empty() && written.is_empty() && public_url.starts_with("https:") {
        resolver.warn(
            "`server.trusted_proxies` is not set: everybody behind your TLS terminator counts as one address, and shares its limits; name its network",
        );
    }
    TrustedProxies::new(networks)
}
