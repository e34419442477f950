//! Tools, prompts and resources.

use std::sync::Arc;

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, GetPromptRequestParams, GetPromptResponse,
    GetPromptResult, ListPromptsResult, ListResourceTemplatesResult, ListResourcesResult, ListToolsResult,
    PaginatedRequestParams, Prompt, PromptMessage, ReadResourceRequestParams, ReadResourceResponse, ReadResourceResult,
    Resource, ResourceContents, ResourceTemplate, Role, ServerCapabilities, ServerConfig, Tool,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler};
use serde_json::{Value, json};

use crate::stations::Stations;

/// One client's view of the stations.
pub(crate) struct Weather {
    stations: Arc<Stations>,
}

impl Weather {
    /// A server over shared stations.
    pub(crate) fn new(stations: Arc<Stations>) -> Self {
        Self { stations }
    }

    fn call(&self, name: &str, arguments: &Value) -> Result<String, ErrorData> {
        let text = |key: &str| {
            let value = arguments.get(key).and_then(Value::as_str);
            value.ok_or_else(|| ErrorData::invalid_params(format!("`{key}` is missing"), None))
        };
        let unknown = |id: &str| ErrorData::invalid_params(format!("there is no station `{id}`"), None);
        match name {
            "list_stations" => {
                let stations = self.stations.list();
                Ok(stations.iter().map(|(id, name)| format!("{id}: {name}")).collect::<Vec<_>>().join("\n"))
            }
            "get_station" => self.stations.get(text("station")?).ok_or_else(|| unknown(text("station").unwrap_or(""))),
            "get_forecast" => {
                let station = text("station")?;
                let name = self.stations.get(station).ok_or_else(|| unknown(station))?;
                Ok(format!("{name}: sunny spells, 17 °C"))
            }
            "add_station" | "update_station" => {
                self.stations.put(text("station")?, text("name")?);
                Ok("stored".to_owned())
            }
            "delete_station" => {
                let station = text("station")?;
                if self.stations.remove(station) { Ok("deleted".to_owned()) } else { Err(unknown(station)) }
            }
            "rotate_keys" => Ok("new keys are in use".to_owned()),
            _ => Err(ErrorData::invalid_params(format!("Unknown tool: {name}"), None)),
        }
    }
}

fn tools() -> Vec<Tool> {
    let tool = |name: &str, description: &str, tag: &str, properties: Value, required: Value| {
        json!({
            "name": name, "description": description,
            "inputSchema": { "type": "object", "properties": properties, "required": required },
            "annotations": { "readOnlyHint": tag == "read", "destructiveHint": tag == "delete" },
            "_meta": { "fastmcp": { "tags": [tag] } },
        })
    };
    let station = json!({ "station": { "type": "string" } });
    let named = json!({ "station": { "type": "string" }, "name": { "type": "string" } });
    let list = json!([
        tool("get_forecast", "The forecast at a station", "read", station.clone(), json!(["station"])),
        tool("list_stations", "Every station", "read", json!({}), json!([])),
        tool("get_station", "One station's name", "read", station.clone(), json!(["station"])),
        tool("add_station", "Add a station", "write", named.clone(), json!(["station", "name"])),
        tool("update_station", "Rename a station", "write", named, json!(["station", "name"])),
        tool("delete_station", "Remove a station for good", "delete", station, json!(["station"])),
        tool("rotate_keys", "Replace the service's own keys", "admin", json!({}), json!([])),
    ]);
    serde_json::from_value(list).unwrap_or_default()
}

impl ServerHandler for Weather {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder().enable_tools().enable_prompts().enable_resources().build();
        ServerConfig::new(capabilities).with_instructions("Weather stations and their forecasts.")
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(tools()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        tracing::info!(tool = %request.name, "called");
        let arguments = Value::Object(request.arguments.unwrap_or_default());
        let text = self.call(&request.name, &arguments)?;
        Ok(CallToolResult::success(vec![ContentBlock::text(text)]).into())
    }

    async fn list_prompts(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        Ok(ListPromptsResult::with_all_items(vec![Prompt::new("plan_trip", Some("Plan a trip by the weather"), None)]))
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        if request.name != "plan_trip" {
            return Err(ErrorData::invalid_params(format!("Unknown prompt: {}", request.name), None));
        }
        let message = PromptMessage::new_text(Role::User, "Plan a day out where the weather is best.");
        Ok(GetPromptResult::new(vec![message]).into())
    }

    async fn list_resources(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        let stations = self.stations.list().into_iter();
        let mut resources: Vec<Resource> =
            stations.map(|(id, name)| Resource::new(format!("weather://stations/{id}"), name)).collect();
        resources.push(Resource::new("weather://keys/current", "The service's own keys"));
        Ok(ListResourcesResult::with_all_items(resources))
    }

    async fn list_resource_templates(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        let templates = vec![ResourceTemplate::new("weather://stations/{id}", "A station")];
        Ok(ListResourceTemplatesResult::with_all_items(templates))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        tracing::info!(uri = %request.uri, "read");
        let id = request.uri.strip_prefix("weather://stations/").unwrap_or_default();
        let name = self.stations.get(id);
        let name = name.ok_or_else(|| ErrorData::resource_not_found(format!("there is no `{}`", request.uri), None))?;
        Ok(ReadResourceResult::new(vec![ResourceContents::text(name, request.uri)]).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_do_what_they_say() {
        let weather = Weather::new(Arc::default());
        assert_eq!(tools().len(), 7);
        assert_eq!(weather.call("get_station", &json!({"station": "oslo"})).unwrap(), "Oslo-Blindern");
        weather.call("add_station", &json!({"station": "x", "name": "X"})).unwrap();
        weather.call("delete_station", &json!({"station": "x"})).unwrap();
        assert!(weather.call("get_forecast", &json!({"station": "x"})).is_err());
        assert!(weather.call("nothing", &json!({})).is_err());
    }
}
