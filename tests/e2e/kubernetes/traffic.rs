//! What network policies let through, by the rules of Kubernetes: policies add up, and a pod that one of them selects
//! accepts (or sends) only what some of them allow.

use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::objects::Labels;

/// One end of a connection.
#[derive(Debug, Clone)]
pub struct Pod {
    pub namespace: String,
    pub labels: Labels,
}

impl Pod {
    pub fn new(namespace: &str, labels: &[(&str, &str)]) -> Self {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Self { namespace: namespace.to_owned(), labels }
    }
}

/// A port by number, and by the name that the pod gives it.
#[derive(Debug, Clone, Copy)]
pub struct Port(pub i32, pub &'static str);

/// Whether `from` may connect to `to`, by both ends' policies.
pub fn passes(policies: &[NetworkPolicy], from: &Pod, to: &Pod, port: Port) -> bool {
    let accepted = of(policies, to, "Ingress").map(|policy| {
        policy.spec.iter().flat_map(|spec| spec.ingress.iter().flatten()).any(|rule| {
            let peers = rule.from.as_deref();
            peers.is_none_or(|peers| peers.iter().any(|peer| is(peer, from, &policy_namespace(policy))))
                && opens(rule.ports.as_deref(), port)
        })
    });
    let sent = of(policies, from, "Egress").map(|policy| {
        policy.spec.iter().flat_map(|spec| spec.egress.iter().flatten()).any(|rule| {
            let peers = rule.to.as_deref();
            peers.is_none_or(|peers| peers.iter().any(|peer| is(peer, to, &policy_namespace(policy))))
                && opens(rule.ports.as_deref(), port)
        })
    });
    none_or_any(accepted) && none_or_any(sent)
}

/// Whether `from` may connect to an address outside of the cluster.
pub fn leaves(policies: &[NetworkPolicy], from: &Pod, address: &str, port: i32) -> bool {
    none_or_any(of(policies, from, "Egress").map(|policy| {
        policy.spec.iter().flat_map(|spec| spec.egress.iter().flatten()).any(|rule| {
            let blocks = rule.to.iter().flatten().filter_map(|peer| peer.ip_block.as_ref());
            let within = blocks.into_iter().any(|block| {
                holds(&block.cidr, address) && !block.except.iter().flatten().any(|range| holds(range, address))
            });
            (rule.to.is_none() || within) && opens(rule.ports.as_deref(), Port(port, ""))
        })
    }))
}

fn of<'a>(policies: &'a [NetworkPolicy], pod: &'a Pod, way: &'a str) -> impl Iterator<Item = &'a NetworkPolicy> {
    policies.iter().filter(move |policy| {
        let spec = policy.spec.as_ref().unwrap();
        policy_namespace(policy) == pod.namespace
            && spec.policy_types.iter().flatten().any(|word| word == way)
            && spec.pod_selector.as_ref().is_none_or(|selector| selects(selector, &pod.labels))
    })
}

fn none_or_any(allowed: impl Iterator<Item = bool>) -> bool {
    let allowed: Vec<bool> = allowed.collect();
    allowed.is_empty() || allowed.contains(&true)
}

fn policy_namespace(policy: &NetworkPolicy) -> String {
    policy.metadata.namespace.clone().unwrap_or_else(|| "default".to_owned())
}

fn is(peer: &NetworkPolicyPeer, pod: &Pod, home: &str) -> bool {
    if peer.ip_block.is_some() {
        return false;
    }
    let namespace = Labels::from([("kubernetes.io/metadata.name".to_owned(), pod.namespace.clone())]);
    let there = peer.namespace_selector.as_ref().map_or(pod.namespace == home, |it| selects(it, &namespace));
    there && peer.pod_selector.as_ref().is_none_or(|it| selects(it, &pod.labels))
}

fn selects(selector: &LabelSelector, labels: &Labels) -> bool {
    assert!(selector.match_expressions.is_none(), "nothing here reads expressions");
    selector.match_labels.iter().flatten().all(|(key, value)| labels.get(key) == Some(value))
}

fn opens(ports: Option<&[NetworkPolicyPort]>, Port(number, name): Port) -> bool {
    let is_it = |port: &NetworkPolicyPort| match &port.port {
        None => true,
        Some(IntOrString::Int(open)) => *open == number,
        Some(IntOrString::String(open)) => open == name,
    };
    ports.is_none_or(|ports| ports.iter().any(is_it))
}

/// Whether an IPv4 range holds an address.
fn holds(range: &str, address: &str) -> bool {
    let (Some((base, length)), Ok(address)) = (range.split_once('/'), address.parse::<std::net::Ipv4Addr>()) else {
        return false;
    };
    let (Ok(base), Ok(length)) = (base.parse::<std::net::Ipv4Addr>(), length.parse::<u32>()) else { return false };
    let kept = u32::MAX.checked_shl(32 - length).unwrap_or(0);
    u32::from(base) & kept == u32::from(address) & kept
}
