//! What the manifests and the chart make: read as Kubernetes reads them, and held to the program that they run.

mod objects;
mod rendered;
mod sound;
mod traffic;

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use portcullis_tests::backend::Backend;
use portcullis_tests::process::{binary, file};
use portcullis_tests::world::WorldBuilder;

use serde_json::Value;

use objects::{Objects, container, labels, pod};
use rendered::{chart, chart_of_a_fleet, chart_with, fleet, refused, single};
use traffic::{Pod, Port, leaves, passes};

#[test]
fn whatever_is_rendered_is_sound_and_can_do_little() {
    for (name, objects) in rendered::all() {
        println!("{name}");
        sound::check(&objects);
    }
    sound::check(&rendered::example());
}

#[test]
fn the_configuration_in_every_rendering_is_one_that_the_gateway_takes() {
    let directory = tempfile::tempdir().unwrap();
    for name in rendered::SECRETS {
        let file = directory.path().join(name);
        std::fs::write(&file, rendered::secret(name)).unwrap();
        std::fs::set_permissions(file, PermissionsExt::from_mode(0o440)).unwrap();
    }
    for (name, objects) in rendered::all() {
        let secrets = directory.path().display().to_string();
        let mounted =
            |text: &str| text.replace("/run/secrets/portcullis", &secrets).replace("/run/secrets/entra", &secrets);
        for (file, text) in objects.configs.iter().flat_map(|config| config.data.as_ref().unwrap()) {
            std::fs::write(directory.path().join(file), mounted(text)).unwrap();
        }
        let config = directory.path().join("gateway.yaml");
        let checked = Command::new(binary("portcullis")).arg("check").arg(config).output().unwrap();
        let said = String::from_utf8_lossy(&checked.stdout).into_owned() + &String::from_utf8_lossy(&checked.stderr);
        assert!(checked.status.success(), "{name}: {said}");
        assert!(!said.contains("warning"), "{name}: {said}");
    }
}

#[test]
fn nobody_but_the_gateway_reaches_an_mcp_server() {
    let example = rendered::example();
    for (name, objects) in rendered::all() {
        let gateway =
            Pod { namespace: "portcullis".to_owned(), labels: labels(objects.deployment("portcullis")).clone() };
        let mut policies = objects.policies.clone();
        let weather = example.deployment("weather");
        let server = Pod { namespace: "mcp-servers".to_owned(), labels: labels(weather).clone() };
        // The chart brings the policy of the servers' namespace; with Kustomize it is a directory of its own.
        if !policies.iter().any(|policy| policy.metadata.namespace.as_deref() == Some("mcp-servers")) {
            policies.extend(example.policies.clone());
        }
        let mcp = Port(9000, "mcp");
        assert!(passes(&policies, &gateway, &server, mcp), "{name}: the control");
        let like_it: Vec<(&str, &str)> =
            gateway.labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        for stranger in [
            Pod::new("default", &[]),
            Pod::new("default", &like_it),
            Pod::new("mcp-servers", &[("app.kubernetes.io/name", "weather")]),
            Pod::new("mcp-servers", &like_it),
            Pod::new("portcullis", &[("app.kubernetes.io/name", "redis")]),
            Pod::new("monitoring", &[("app.kubernetes.io/name", "prometheus")]),
            Pod::new("ingress-nginx", &[]),
        ] {
            assert!(!passes(&policies, &stranger, &server, mcp), "{name}: {stranger:?} walks around the gateway");
        }
        // Whatever runs in that namespace is covered, not the example alone.
        let other = Pod::new("mcp-servers", &[("app", "another")]);
        assert!(passes(&policies, &gateway, &other, Port(3000, "http")));
        assert!(!passes(&policies, &Pod::new("default", &[]), &other, Port(3000, "http")));
    }
}

#[test]
fn the_gateway_is_reached_and_reaches_what_it_needs_and_nothing_else() {
    for (name, objects) in rendered::all() {
        let gateway =
            Pod { namespace: "portcullis".to_owned(), labels: labels(objects.deployment("portcullis")).clone() };
        let policies = &objects.policies;
        let (http, admin) = (Port(8080, "http"), Port(9090, "admin"));
        assert!(passes(policies, &Pod::new("ingress-nginx", &[]), &gateway, http), "{name}");
        assert!(passes(policies, &Pod::new("monitoring", &[]), &gateway, admin), "{name}");
        assert!(!passes(policies, &Pod::new("ingress-nginx", &[]), &gateway, admin), "{name}");
        assert!(passes(policies, &gateway, &Pod::new("kube-system", &[]), Port(53, "dns")), "{name}");
        assert!(!passes(policies, &gateway, &Pod::new("kube-system", &[]), Port(10250, "kubelet")), "{name}");
        assert!(!passes(policies, &gateway, &Pod::new("default", &[]), Port(80, "http")), "{name}");
        assert!(leaves(policies, &gateway, "20.190.128.1", 443), "{name}: Entra");
        assert!(leaves(policies, &gateway, "169.254.20.10", 53), "{name}: a node's DNS cache");
        for (address, port) in [("169.254.169.254", 443), ("169.254.169.254", 80), ("10.96.0.1", 443), ("8.8.8.8", 80)]
        {
            assert!(!leaves(policies, &gateway, address, port), "{name}: {address}:{port}");
        }
    }
}

#[tokio::test]
async fn the_probes_ask_what_the_gateway_answers() {
    let backend = Backend::plain().await;
    let world = WorldBuilder::new(&backend).start().await;
    let ask = async |path: &str| {
        let url = format!("http://127.0.0.1:{}{path}", world.admin_port);
        world.http().get(url).send().await.unwrap().status().as_u16()
    };
    assert_eq!(ask("/healthz").await, 404, "the control: not every path is there");
    for (name, objects) in rendered::all() {
        let container = container(objects.deployment("portcullis"));
        let number = |port: &str| {
            let named = container.ports.iter().flatten().find(|it| it.name.as_deref() == Some(port));
            named.unwrap_or_else(|| panic!("{name}: no port `{port}`")).container_port
        };
        for (key, port) in [("listen", "http"), ("admin_listen", "admin")] {
            let line = format!(" {key}: 0.0.0.0:{}", number(port));
            assert!(objects.config().contains(&line), "{name}: the configuration does not say `{line}`");
        }
        for probe in [&container.startup_probe, &container.liveness_probe, &container.readiness_probe] {
            let get = probe.as_ref().unwrap().http_get.as_ref().unwrap();
            assert_eq!(get.port, IntOrString::String("admin".to_owned()), "{name}");
            assert_eq!(ask(get.path.as_deref().unwrap()).await, 200, "{name}: {get:?}");
        }
        let readiness = container.readiness_probe.as_ref().unwrap().http_get.as_ref().unwrap();
        let liveness = container.liveness_probe.as_ref().unwrap().http_get.as_ref().unwrap();
        assert_eq!(readiness.path.as_deref(), Some("/readyz"), "{name}: only this one says no while it drains");
        assert_eq!(liveness.path.as_deref(), Some("/livez"), "{name}: what is not ready is not to be killed");
        let annotations = objects.deployment("portcullis").spec.as_ref().unwrap().template.metadata.clone().unwrap();
        let scraped = annotations.annotations.unwrap();
        assert_eq!(scraped["prometheus.io/port"], number("admin").to_string(), "{name}");
        assert_eq!(ask(&scraped["prometheus.io/path"]).await, 200, "{name}");
    }
}

#[test]
fn one_pod_keeps_its_state_and_two_never_share_it() {
    for objects in [single(&[]), chart(&[])] {
        let deployment = objects.deployment("portcullis");
        let spec = deployment.spec.as_ref().unwrap();
        assert_eq!(spec.replicas, Some(1));
        assert_eq!(spec.strategy.as_ref().unwrap().type_.as_deref(), Some("Recreate"));
        let claim = pod(deployment).volumes.iter().flatten().find_map(|volume| volume.persistent_volume_claim.as_ref());
        assert_eq!(Some(&claim.unwrap().claim_name), objects.claims[0].metadata.name.as_ref());
        assert!(objects.scalers.is_empty() && objects.budgets.is_empty());
    }
    refused(&["--set", "replicas=2"], "several pods cannot share a directory");
    refused(&["--set", "autoscaling.enabled=true"], "several pods cannot share a directory");
}

#[test]
fn several_pods_share_a_store_and_never_all_go_at_once() {
    for objects in [fleet(), chart_of_a_fleet(&[])] {
        let deployment = objects.deployment("portcullis");
        let rolling = deployment.spec.as_ref().unwrap().strategy.as_ref().unwrap().rolling_update.as_ref().unwrap();
        assert_eq!(rolling.max_unavailable, Some(IntOrString::Int(0)));
        assert_eq!((objects.scalers.len(), objects.budgets.len(), objects.claims.len()), (1, 1, 0));
        let config: Value = serde_saphyr::from_str(objects.config()).unwrap();
        for file in [
            &config["state"]["redis"]["url_file"],
            &config["state"]["seal_key_files"][0],
            &config["audit"]["postgres"]["url_file"],
        ] {
            let name = file.as_str().unwrap().rsplit('/').next().unwrap();
            assert!(rendered::SECRETS.contains(&name), "{name}");
        }
        let gateway = Pod { namespace: "portcullis".to_owned(), labels: labels(deployment).clone() };
        let data = Pod::new("data", &[]);
        for (port, open) in [(6379, true), (5432, true), (22, false)] {
            assert_eq!(passes(&objects.policies, &gateway, &data, Port(port, "")), open, "{port}");
        }
    }
    let kept = &fleet().secrets[0];
    let files: Vec<&str> = kept.data.as_ref().unwrap().keys().map(String::as_str).collect();
    assert_eq!(files, ["audit-url", "client-secret", "redis-url", "seal-key"]);
    refused(&["-f", &rendered::fleet_values(), "--set", "persistence.enabled=true"], "persistence is for one pod");
}

#[test]
fn a_pods_own_token_can_stand_in_for_the_secret() {
    for objects in [single(&["workload-identity"]), chart(&["--set", "workloadIdentity.enabled=true"])] {
        let deployment = objects.deployment("portcullis");
        let projected = pod(deployment).volumes.iter().flatten().filter_map(|volume| volume.projected.as_ref());
        let mut sources = projected.flat_map(|projected| projected.sources.iter().flatten());
        let token = sources.find_map(|source| source.service_account_token.as_ref()).unwrap();
        assert_eq!((token.audience.as_deref(), token.path.as_str()), (Some("api://AzureADTokenExchange"), "token"));
        let mounts = container(deployment).volume_mounts.as_ref().unwrap();
        assert!(mounts.iter().any(|mount| mount.mount_path == "/run/secrets/entra"));
    }
    let config = chart(&["--set", "workloadIdentity.enabled=true"]);
    let optional = |objects: &Objects| {
        let mut secrets =
            pod(objects.deployment("portcullis")).volumes.iter().flatten().filter_map(|it| it.secret.clone());
        secrets.next().unwrap().optional
    };
    // A pod whose secret is not there, and not optional, never starts.
    let alone = rendered::without_secret("single");
    assert!(alone.secrets.is_empty() && optional(&alone) == Some(true) && optional(&config) == Some(true));
    assert_ne!(optional(&single(&[])), Some(true), "the control");
    assert!(alone.config().contains("federated_token_file") && !alone.config().contains("client_secret_file"));
    let fleet = rendered::without_secret("fleet");
    let kept: Vec<&str> = fleet.secrets[0].data.as_ref().unwrap().keys().map(String::as_str).collect();
    assert_eq!((kept, optional(&fleet)), (vec!["audit-url", "redis-url", "seal-key"], Some(true)));
    assert!(config.config().contains("federated_token_file: /run/secrets/entra/token"));
    assert!(!config.config().contains("client_secret_file"));
}

#[test]
fn an_ingress_passes_on_the_whole_host_and_holds_nothing_back() {
    for objects in [single(&["ingress"]), chart(&["--set", "ingress.enabled=true"])] {
        let ingress = &objects.ingresses[0];
        let spec = ingress.spec.as_ref().unwrap();
        let rule = &spec.rules.as_ref().unwrap()[0];
        assert_eq!(rule.host.as_deref(), Some("mcp.example.com"));
        let path = &rule.http.as_ref().unwrap().paths[0];
        assert_eq!((path.path.as_deref(), path.path_type.as_str()), (Some("/"), "Prefix"));
        let service = path.backend.service.as_ref().unwrap();
        assert_eq!(Some(&service.name), objects.services[0].metadata.name.as_ref());
        assert!(spec.tls.as_ref().unwrap()[0].hosts.as_ref().unwrap().contains(&"mcp.example.com".to_owned()));
        let annotations = ingress.metadata.annotations.as_ref().unwrap();
        assert_eq!(annotations["nginx.ingress.kubernetes.io/proxy-buffering"], "off");
        assert_eq!(annotations["nginx.ingress.kubernetes.io/proxy-next-upstream"], "off", "a call is never sent twice");
    }
}

#[test]
fn a_policy_is_for_the_pods_that_run_and_what_only_a_start_takes_makes_new_ones() {
    let made = |objects: &Objects| {
        let template = &objects.deployment("portcullis").spec.as_ref().unwrap().template;
        serde_json::to_value(template).unwrap()
    };
    let from_file = rendered::policy_from_file();
    let file = from_file.each_ref().map(String::as_str);
    let more = |arguments: &[&'static str]| chart(&[&file[..], arguments].concat());
    let other = rendered::another_policy();
    let another = chart(&["--set", "config.policy=null", "--set-file", &format!("policy={}", other.path().display())]);
    let opened = "--set=config.policy.roles.Another.opens[0]=read";
    let backend = "--set=config.backends.crm.url=http://crm.mcp-servers.svc:9000/mcp";
    for (what, before, after, same) in [
        ("the chart's file", more(&[]), another, true),
        ("the chart's policy", chart(&[]), chart(&[opened]), true),
        ("the chart's backends", chart(&[]), chart(&[backend]), true),
        ("the chart's state", chart(&[]), chart(&["--set=config.state.path=/var/lib/portcullis/a"]), false),
        ("the chart's server", more(&[]), more(&["--set=config.server.drain_delay=9s"]), false),
        ("the overlay's policy", single(&[]), rendered::changed("single", "policy.yaml"), true),
        ("the fleet's policy", fleet(), rendered::changed("fleet", "policy.yaml"), true),
        ("the overlay's configuration", single(&[]), rendered::changed("single", "gateway.yaml"), false),
    ] {
        let texts = |objects: &Objects| objects.configs.iter().map(|config| config.data.clone()).collect::<Vec<_>>();
        assert_ne!(texts(&before), texts(&after), "{what}: the control");
        assert_eq!(made(&before) == made(&after), same, "{what}");
        // A file that is mounted by itself never changes under a pod.
        let mounts = container(after.deployment("portcullis")).volume_mounts.as_ref().unwrap();
        assert!(mounts.iter().all(|mount| mount.sub_path.is_none()), "{what}");
    }
}

#[test]
fn the_chart_and_the_manifests_say_the_same() {
    let comparable = |objects: &Objects| {
        let deployment = objects.deployment("portcullis");
        let mut pod = pod(deployment).clone();
        let mut container = container(deployment).clone();
        (container.image, container.image_pull_policy) = (None, None);
        pod.containers = vec![container];
        for volume in pod.volumes.iter_mut().flatten() {
            for source in volume.projected.iter_mut().flat_map(|projected| projected.sources.iter_mut().flatten()) {
                source.config_map.iter_mut().for_each(|it| it.name = String::new());
            }
            volume.persistent_volume_claim.iter_mut().for_each(|it| it.claim_name = String::new());
            volume.secret.iter_mut().for_each(|it| (it.secret_name, it.optional) = (None, None));
        }
        pod.volumes.iter_mut().for_each(|volumes| volumes.sort_by(|one, other| one.name.cmp(&other.name)));
        for spread in pod.topology_spread_constraints.iter_mut().flatten() {
            spread.label_selector = None;
        }
        serde_json::to_value(pod).unwrap()
    };
    let rules = |objects: &Objects| {
        let policies = objects.policies.iter();
        let own = policies.filter(|policy| policy.metadata.namespace.as_deref() == Some("portcullis"));
        let spec = own.map(|policy| policy.spec.clone().unwrap()).next().unwrap();
        serde_json::to_value((spec.ingress, spec.egress, spec.policy_types)).unwrap()
    };
    let scaling = |objects: &Objects| {
        let specs = |scaler: &HorizontalPodAutoscaler| scaler.spec.clone().unwrap();
        serde_json::to_value(objects.scalers.iter().map(specs).collect::<Vec<_>>()).unwrap()
    };
    let from_file = rendered::policy_from_file();
    let file = from_file.each_ref().map(String::as_str);
    for (ours, theirs) in [(single(&[]), chart(&file)), (fleet(), chart_of_a_fleet(&file))] {
        assert_eq!(comparable(&ours), comparable(&theirs));
        assert_eq!(rules(&ours), rules(&theirs));
        assert_eq!(scaling(&ours), scaling(&theirs));
    }
}

#[test]
fn the_chart_passes_its_lint_and_refuses_what_cannot_be_right() {
    rendered::lint();
    refused(&["--set", "replcas=2"], "additional properties 'replcas' not allowed");
    refused(&["--set", "image.repository="], "/image/repository");
    refused(&["--set", "config.server.public_url=http://mcp.example.com"], "/config/server/public_url");
    refused(&["--set", "config.entra.tenant_id=common"], "/config/entra/tenant_id");
    refused(&["--set", "config.backends=null"], "config");
    refused(&["--set", "config.server.trusted_proxies=null"], "config.server.trusted_proxies");
    let policy = format!("policy={}", file("../examples/policies/task-roles.yaml").display());
    refused(&["--set-file", &policy], "the policy is there twice");
    refused(&["--set", "config.policy=null"], "there is no policy");
    for (grace, least) in [("60s", 75), ("2m", 135), ("26s", 41)] {
        let set = format!("config.server.shutdown_grace={grace}");
        refused(&["--set", &set], &format!("terminationGracePeriodSeconds to {least} or more"));
        chart(&["--set", &set, "--set", &format!("terminationGracePeriodSeconds={least}")]);
    }
    let monitored = chart(&["--set", "podMonitor.enabled=true"]);
    assert_eq!(monitored.custom[0]["spec"]["podMetricsEndpoints"][0]["port"], "admin");
    // The job is not named by namespace and monitor, which differ with every release, but by what every pod is called.
    let named = monitored.custom[0]["spec"]["jobLabel"].as_str().unwrap();
    assert_eq!(labels(monitored.deployment("portcullis"))[named], "portcullis");
    let component = single(&["pod-monitor"]);
    let selected = &component.custom[0]["spec"]["selector"]["matchLabels"];
    let pods = labels(component.deployment("portcullis"));
    assert!(selected.as_object().unwrap().iter().all(|(key, value)| pods[key] == *value.as_str().unwrap()));
    for key in ["jobLabel", "podMetricsEndpoints"] {
        assert_eq!(component.custom[0]["spec"][key], monitored.custom[0]["spec"][key], "{key}");
    }
    let open = chart(&["--set", "backendPolicy.enabled=false"]);
    assert!(open.policies.iter().all(|policy| policy.metadata.namespace.as_deref() == Some("portcullis")));
    let other = chart_with("second", &[]);
    let names = |objects: &Objects| objects.services[0].metadata.name.clone().unwrap();
    assert_eq!(names(&other), "second");
    assert_ne!(labels(other.deployment("portcullis")), labels(chart(&[]).deployment("portcullis")));
}
