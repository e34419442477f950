//! What must be so of any rendering: pods that can do little, and names that lead somewhere.

use std::collections::BTreeSet;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::objects::{Labels, Objects, container, labels, pod};

/// Fails on what is not so.
pub fn check(objects: &Objects) {
    assert!(!objects.deployments.is_empty());
    for deployment in &objects.deployments {
        can_do_little(deployment);
        fits_together(objects, deployment);
    }
    for namespace in &objects.namespaces {
        let enforced = namespace.metadata.labels.as_ref().unwrap().get("pod-security.kubernetes.io/enforce");
        assert_eq!(enforced.map(String::as_str), Some("restricted"), "{:?}", namespace.metadata.name);
    }
    for service in &objects.services {
        let spec = service.spec.as_ref().unwrap();
        let selector = spec.selector.as_ref().unwrap();
        let chosen = objects.deployments.iter().find(|deployment| within(selector, labels(deployment)));
        let deployment = chosen.unwrap_or_else(|| panic!("{:?} selects no pod", service.metadata.name));
        for port in spec.ports.iter().flatten() {
            let target = port.target_port.as_ref().unwrap();
            let ports = container(deployment).ports.iter().flatten();
            let named = |it: &k8s_openapi::api::core::v1::ContainerPort| match target {
                IntOrString::Int(number) => it.container_port == *number,
                IntOrString::String(name) => it.name.as_deref() == Some(name),
            };
            assert!(ports.into_iter().any(named), "{target:?}");
            assert_ne!(target, &IntOrString::String("admin".to_owned()), "the admin port is not for clients");
        }
    }
    scale_well(objects);
}

/// The restricted profile of Pod Security, a root that cannot be written, and a bound on what it takes.
fn can_do_little(deployment: &Deployment) {
    let pod = pod(deployment);
    let security = pod.security_context.as_ref().unwrap();
    assert_eq!(security.run_as_non_root, Some(true));
    assert!(security.run_as_user.is_some_and(|user| user > 0));
    assert_eq!(security.seccomp_profile.as_ref().unwrap().type_, "RuntimeDefault");
    assert_eq!(pod.automount_service_account_token, Some(false));
    assert!(pod.host_network.is_none() && pod.host_pid.is_none() && pod.host_ipc.is_none());
    let container = container(deployment);
    let security = container.security_context.as_ref().unwrap();
    assert_eq!(security.read_only_root_filesystem, Some(true));
    assert_eq!(security.allow_privilege_escalation, Some(false));
    let capabilities = security.capabilities.as_ref().unwrap();
    assert_eq!(capabilities.drop.as_deref(), Some(&["ALL".to_owned()][..]));
    assert!(capabilities.add.is_none() && security.privileged.is_none());
    let resources = container.resources.as_ref().unwrap();
    assert!(resources.limits.as_ref().unwrap().contains_key("memory"));
    assert!(resources.requests.as_ref().unwrap().contains_key("cpu"), "an autoscaler goes by it");
    let image = container.image.as_deref().unwrap();
    let tag = image.rsplit_once(':').map(|(_, tag)| tag);
    assert!(tag.is_some_and(|tag| tag != "latest" && !tag.contains('/')), "{image}");
    assert!(container.readiness_probe.is_some());
    for volume in pod.volumes.iter().flatten() {
        assert!(volume.host_path.is_none(), "{}", volume.name);
    }
}

/// Selectors select, mounts have volumes, and volumes have what they are made of.
fn fits_together(objects: &Objects, deployment: &Deployment) {
    let spec = deployment.spec.as_ref().unwrap();
    assert!(selects(&spec.selector, labels(deployment)));
    let pod = pod(deployment);
    for spread in pod.topology_spread_constraints.iter().flatten() {
        assert!(selects(spread.label_selector.as_ref().unwrap(), labels(deployment)));
    }
    let volumes: BTreeSet<&str> = pod.volumes.iter().flatten().map(|volume| volume.name.as_str()).collect();
    let mounts = container(deployment).volume_mounts.iter().flatten();
    let mounted: BTreeSet<&str> = mounts.map(|mount| mount.name.as_str()).collect();
    assert_eq!(volumes, mounted);
    let names = |all: &[Option<String>], name: &str| all.iter().any(|it| it.as_deref() == Some(name));
    let configs: Vec<_> = objects.configs.iter().map(|it| it.metadata.name.clone()).collect();
    let claims: Vec<_> = objects.claims.iter().map(|it| it.metadata.name.clone()).collect();
    let secrets: Vec<_> = objects.secrets.iter().map(|it| it.metadata.name.clone()).collect();
    let accounts: Vec<_> = objects.accounts.iter().map(|it| it.metadata.name.clone()).collect();
    for volume in pod.volumes.iter().flatten() {
        let projected = volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten());
        for source in projected.filter_map(|source| source.config_map.as_ref()) {
            assert!(names(&configs, &source.name), "{}", source.name);
        }
        assert!(volume.config_map.is_none(), "it is projected");
        if let Some(source) = &volume.persistent_volume_claim {
            assert!(names(&claims, &source.claim_name), "{}", source.claim_name);
        }
        if let Some(source) = &volume.secret {
            let name = source.secret_name.as_deref().unwrap();
            // The chart's secret is made by hand, beside it.
            assert!(names(&secrets, name) || name == "portcullis-secrets", "{name}");
            assert_eq!(source.default_mode, Some(0o440));
        }
    }
    if let Some(account) = &pod.service_account_name {
        assert!(names(&accounts, account), "{account}");
    }
    for policy in objects.policies.iter().filter(|it| it.metadata.namespace == deployment.metadata.namespace) {
        let selector = policy.spec.as_ref().unwrap().pod_selector.clone().unwrap_or_default();
        assert!(selects(&selector, labels(deployment)), "{:?} selects no pod", policy.metadata.name);
    }
}

/// Autoscalers and disruption budgets are of a deployment that is there, and leave it something to do.
fn scale_well(objects: &Objects) {
    for scaler in &objects.scalers {
        let spec = scaler.spec.as_ref().unwrap();
        let target =
            objects.deployments.iter().find(|it| it.metadata.name.as_ref() == Some(&spec.scale_target_ref.name));
        let target = target.unwrap_or_else(|| panic!("{:?} scales nothing", scaler.metadata.name));
        assert_eq!(target.spec.as_ref().unwrap().replicas, None, "two would say how many there are");
        assert!(spec.min_replicas.is_some_and(|least| least >= 2) && spec.max_replicas > spec.min_replicas.unwrap());
    }
    for budget in &objects.budgets {
        let spec = budget.spec.as_ref().unwrap();
        let selector = spec.selector.as_ref().unwrap();
        assert!(objects.deployments.iter().any(|it| selects(selector, labels(it))));
        assert_eq!(spec.max_unavailable, Some(IntOrString::Int(1)), "a node could never be drained, or all at once");
    }
}

fn selects(selector: &LabelSelector, labels: &Labels) -> bool {
    within(&selector.match_labels.clone().unwrap_or_default(), labels)
}

fn within(selector: &Labels, labels: &Labels) -> bool {
    selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}
