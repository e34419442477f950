//! Rendered manifests as Kubernetes' own types.
//!
//! A key that no type has (a typo, a wrong place) would be dropped in silence by a reader that is not strict: whatever
//! is read is written back and compared.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{
    ConfigMap, Container, Namespace, PersistentVolumeClaim, PodSpec, Secret, Service, ServiceAccount,
};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Everything of one rendering.
#[derive(Debug, Default)]
pub struct Objects {
    pub namespaces: Vec<Namespace>,
    pub accounts: Vec<ServiceAccount>,
    pub configs: Vec<ConfigMap>,
    pub secrets: Vec<Secret>,
    pub claims: Vec<PersistentVolumeClaim>,
    pub services: Vec<Service>,
    pub deployments: Vec<Deployment>,
    pub policies: Vec<NetworkPolicy>,
    pub ingresses: Vec<Ingress>,
    pub budgets: Vec<PodDisruptionBudget>,
    pub scalers: Vec<HorizontalPodAutoscaler>,
    /// Objects of kinds that Kubernetes itself does not have.
    pub custom: Vec<Value>,
}

pub type Labels = BTreeMap<String, String>;

impl Objects {
    /// Reads what `kubectl kustomize` printed.
    pub fn read(rendered: &str) -> Self {
        let mut objects = Self::default();
        for document in rendered.split("\n---\n").filter(|document| !document.trim().is_empty()) {
            objects.take(serde_saphyr::from_str(document).unwrap_or_else(|error| panic!("{error}: {document}")));
        }
        objects
    }

    fn take(&mut self, mut value: Value) {
        // Kustomize folds long values, which Kubernetes's reader of base64 does not mind and this one does.
        let kind_of = value["kind"].as_str().map(str::to_owned);
        for folded in value["data"].as_object_mut().into_iter().flat_map(serde_json::Map::values_mut) {
            if let (Some("Secret"), Some(text)) = (kind_of.as_deref(), folded.as_str()) {
                *folded = text.replace('\n', "").into();
            }
        }
        let kind = format!("{}/{}", text(&value["apiVersion"]), text(&value["kind"]));
        match kind.as_str() {
            "v1/Namespace" => self.namespaces.push(typed(&value)),
            "v1/ServiceAccount" => self.accounts.push(typed(&value)),
            "v1/ConfigMap" => self.configs.push(typed(&value)),
            "v1/Secret" => self.secrets.push(typed(&value)),
            "v1/PersistentVolumeClaim" => self.claims.push(typed(&value)),
            "v1/Service" => self.services.push(typed(&value)),
            "apps/v1/Deployment" => self.deployments.push(typed(&value)),
            "networking.k8s.io/v1/NetworkPolicy" => self.policies.push(typed(&value)),
            "networking.k8s.io/v1/Ingress" => self.ingresses.push(typed(&value)),
            "policy/v1/PodDisruptionBudget" => self.budgets.push(typed(&value)),
            "autoscaling/v2/HorizontalPodAutoscaler" => self.scalers.push(typed(&value)),
            "monitoring.coreos.com/v1/PodMonitor" => self.custom.push(value),
            other => panic!("nothing reads `{other}`"),
        }
    }

    /// The deployment whose one container has this name.
    pub fn deployment(&self, name: &str) -> &Deployment {
        let named = |deployment: &&Deployment| container(deployment).name == name;
        self.deployments.iter().find(named).unwrap_or_else(|| panic!("no deployment of `{name}`"))
    }

    /// The configuration of the gateway, as its file.
    pub fn config(&self) -> &str {
        self.file("gateway.yaml")
    }

    /// A file of its config maps.
    pub fn file(&self, name: &str) -> &str {
        let mut found = self.configs.iter().filter_map(|config| config.data.as_ref()?.get(name));
        found.next().unwrap_or_else(|| panic!("no config map has `{name}`"))
    }
}

/// The pods of a deployment.
pub fn pod(deployment: &Deployment) -> &PodSpec {
    deployment.spec.as_ref().unwrap().template.spec.as_ref().unwrap()
}

/// The labels of its pods.
pub fn labels(deployment: &Deployment) -> &Labels {
    deployment.spec.as_ref().unwrap().template.metadata.as_ref().unwrap().labels.as_ref().unwrap()
}

/// Its one container.
pub fn container(deployment: &Deployment) -> &Container {
    let containers = &pod(deployment).containers;
    assert_eq!(containers.len(), 1);
    &containers[0]
}

fn typed<T: DeserializeOwned + Serialize>(value: &Value) -> T {
    let read: T = serde_json::from_value(value.clone()).unwrap_or_else(|error| panic!("{error}: {value}"));
    lost("", value, &serde_json::to_value(&read).unwrap());
    read
}

/// Fails on the first thing of `written` that did not come back.
fn lost(path: &str, written: &Value, back: &Value) {
    match (written, back) {
        (Value::Object(written), Value::Object(back)) => {
            for (key, value) in written.iter().filter(|(_, value)| !value.is_null()) {
                let path = format!("{path}.{key}");
                lost(&path, value, back.get(key).unwrap_or_else(|| panic!("Kubernetes knows no `{path}`")));
            }
        }
        (Value::Array(written), Value::Array(back)) => {
            assert_eq!(written.len(), back.len(), "{path}");
            written.iter().zip(back).for_each(|(written, back)| lost(&format!("{path}[]"), written, back));
        }
        _ => assert_eq!(written, back, "{path}"),
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("not a text: {value}"))
}

#[test]
#[should_panic(expected = "Kubernetes knows no `.spec.template.spec.containers[].readOnlyRootFilesystem`")]
fn a_key_in_the_wrong_place_is_found() {
    Objects::read(
        "apiVersion: apps/v1\nkind: Deployment\nspec:\n  selector: {}\n  template:\n    spec:\n      containers:\n        - { name: a, readOnlyRootFilesystem: true }\n",
    );
}
