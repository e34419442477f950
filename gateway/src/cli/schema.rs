//! `portcullis schema`: the JSON Schema of a configuration file, or of a policy file, for editors.

use portcullis_policy::Document;

use super::Answer;
use crate::config;

/// Writes the schema.
pub(super) fn run(policy: bool) -> Result<Answer, String> {
    let schema = if policy { Document::json_schema() } else { config::json_schema() };
    serde_json::to_string_pretty(&schema).map(Answer::Yes).map_err(|error| error.to_string())
}
