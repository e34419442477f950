//! Places and bytes are given back, and nobody has more than a share.

use portcullis_policy::Kind;

use super::*;

fn budgets(limits: Limits) -> (Budgets, Metrics) {
    let metrics = Metrics::new().unwrap();
    let proxies = TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap()]);
    (Budgets::new(limits, proxies, &metrics), metrics)
}

fn at(address: &str) -> IpAddr {
    address.parse().unwrap()
}

#[test]
fn what_is_dropped_is_given_back() {
    let (budgets, metrics) = budgets(Limits { requests: 2, ..Limits::default() });
    for _ in 0..3 {
        let first = budgets.request().unwrap();
        let second = budgets.request().unwrap();
        assert_eq!(budgets.request().unwrap_err(), Spent::Everybodys);
        drop((first, second));
    }
    budgets.observe(&metrics);
    assert_eq!(metrics.budgets.used.with_label_values(&["requests"]).get(), 0);
    assert_eq!(metrics.budgets.refused.with_label_values(&["requests"]).get(), 3);
}

#[test]
fn bytes_are_held_as_they_come_and_never_beyond_the_budget() {
    let (budgets, metrics) = budgets(Limits { request_bytes: 100, ..Limits::default() });
    let (mut first, mut second) = (budgets.request_body(), budgets.request_body());
    first.resize(60).unwrap();
    second.resize(40).unwrap();
    assert_eq!(second.resize(41), Err(Spent::Everybodys));
    budgets.observe(&metrics);
    assert_eq!(metrics.budgets.used.with_label_values(&["request_bytes"]).get(), 100);
    first.resize(10).unwrap();
    second.resize(90).unwrap();
    drop((first, second));
    budgets.observe(&metrics);
    assert_eq!(metrics.budgets.used.with_label_values(&["request_bytes"]).get(), 0);
}

#[test]
fn an_address_has_its_share_of_the_connections_and_a_trusted_proxy_all_of_them() {
    let limits = Limits { connections: 6, connections_per_address: 2, ..Limits::default() };
    let (budgets, _) = budgets(limits);
    let held = [budgets.connection(Some(at("192.0.2.1"))).unwrap(), budgets.connection(Some(at("192.0.2.1"))).unwrap()];
    assert_eq!(budgets.connection(Some(at("192.0.2.1"))).unwrap_err(), Spent::Their);
    let others: Vec<_> = (0..4).map(|_| budgets.connection(Some(at("10.0.0.1"))).unwrap()).collect();
    assert_eq!(budgets.connection(Some(at("192.0.2.2"))).unwrap_err(), Spent::Everybodys);
    drop((held, others));
    let _v6 =
        [budgets.connection(Some(at("2001:db8::1"))).unwrap(), budgets.connection(Some(at("2001:db8::2"))).unwrap()];
    assert_eq!(budgets.connection(Some(at("2001:db8::3"))).unwrap_err(), Spent::Their, "of one /64");
}

#[test]
fn a_caller_has_a_share_of_the_streams() {
    let (budgets, _) = budgets(Limits { streams: 3, streams_per_caller: 2, ..Limits::default() });
    let caller = |object: &str| Subject::new(Kind::User, "t", object);
    let _held = [budgets.stream(&caller("a")).unwrap(), budgets.stream(&caller("a")).unwrap()];
    assert_eq!(budgets.stream(&caller("a")).unwrap_err(), Spent::Their);
    let _other = budgets.stream(&caller("b")).unwrap();
    assert_eq!(budgets.stream(&caller("c")).unwrap_err(), Spent::Everybodys);
    assert_eq!(budgets.streams_per_caller.len(), 2, "who holds nothing takes no memory");
}

#[test]
fn a_caller_has_a_share_of_the_requests_and_of_the_bytes_of_large_bodies() {
    let limits = Limits { requests_per_caller: 2, request_bytes_per_caller: 300_000, ..Limits::default() };
    let (budgets, _) = budgets(limits);
    let (a, b) = (Subject::new(Kind::User, "t", "a"), Subject::new(Kind::User, "t", "b"));
    let (first, second) = (budgets.caller(&a).unwrap(), budgets.caller(&a).unwrap());
    assert_eq!(budgets.caller(&a).unwrap_err(), Spent::Their);
    let other = budgets.caller(&b).unwrap();
    let room = |of: Caller| {
        let mut room = budgets.request_body();
        room.share(of.bytes);
        room
    };
    let (mut large, mut small, mut others) = (room(first), room(second), room(other));
    large.resize(SMALL_BODY + 1).unwrap();
    large.resize(300_000).unwrap();
    small.resize(SMALL_BODY).unwrap();
    assert_eq!(small.resize(SMALL_BODY + 1), Err(Spent::Their), "it counts whole");
    others.resize(300_000).unwrap();
    drop(large);
    small.resize(300_000).unwrap();
}

#[test]
fn an_address_behind_a_trusted_proxy_has_its_share_and_the_proxy_has_no_limit() {
    let (budgets, _) = budgets(Limits { requests_per_address: 1, ..Limits::default() });
    let mut behind = HeaderMap::new();
    behind.insert("x-forwarded-for", "192.0.2.7".parse().unwrap());
    let share = |peer: &str, fields: &HeaderMap| budgets.share_of(budgets.stranger(Some(at(peer)), fields));
    let held = [share("10.0.0.1", &behind), share("192.0.2.8", &HeaderMap::new())];
    let mut held = held.map(Option::unwrap);
    assert_eq!(held.each_mut().map(|share| share.resize(1)), [Ok(()); 2]);
    let mut same = share("192.0.2.7", &HeaderMap::new()).unwrap();
    assert_eq!(same.resize(1), Err(Spent::Their), "one client, whichever way it comes");
    let mut lies = share("192.0.2.8", &behind).unwrap();
    assert_eq!(lies.resize(1), Err(Spent::Their), "nobody else's word counts");
    assert!(share("10.0.0.1", &HeaderMap::new()).is_none());
    drop(held);
    assert_eq!((same.resize(1), lies.resize(1)), (Ok(()), Ok(())));
}

#[test]
fn what_is_answered_in_process_leaves_room_for_calls() {
    let (budgets, _) = budgets(Limits { requests: 4, ..Limits::default() });
    let address = |last: u8| Some(ClientAddress::of([192, 0, 2, last].into()));
    let held = [budgets.local(address(1)).unwrap(), budgets.local(address(2)).unwrap()];
    assert_eq!(budgets.local(address(3)).unwrap_err(), Spent::Everybodys);
    let [mut greedy, mut other] = held;
    assert_eq!(greedy.room.resize(LOCAL_BYTES_PER_ADDRESS + 1), Err(Spent::Their));
    greedy.room.resize(LOCAL_BYTES_PER_ADDRESS).unwrap();
    other.room.resize(LOCAL_BYTES_PER_ADDRESS).unwrap();
    assert_eq!(budgets.request_bytes.used(), 0, "the room of calls is whole");
}

#[test]
fn connections_leave_descriptors_for_backends() {
    let limits = Limits::default();
    assert_eq!(limits.within(Some(256)).connections, 96);
    assert_eq!(limits.within(Some(1 << 20)), limits);
    assert_eq!(limits.within(None), limits);
}
