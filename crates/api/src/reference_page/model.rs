//! The parts of the `OpenAPI` document that the page shows, in the order of the document.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

#[derive(Debug, Deserialize)]
pub(super) struct Document {
    pub(super) info: Info,
    pub(super) tags: Vec<Tag>,
    pub(super) paths: IndexMap<String, IndexMap<String, Operation>>,
    pub(super) components: Components,
}

#[derive(Debug, Deserialize)]
pub(super) struct Info {
    pub(super) description: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Tag {
    pub(super) name: String,
    pub(super) description: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Components {
    pub(super) schemas: IndexMap<String, Schema>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Operation {
    pub(super) tags: Vec<String>,
    #[serde(rename = "operationId")]
    pub(super) id: String,
    pub(super) summary: String,
    pub(super) description: String,
    #[serde(default)]
    pub(super) parameters: Vec<Parameter>,
    pub(super) request_body: Option<Body>,
    pub(super) responses: IndexMap<String, Response>,
    #[serde(default, rename = "x-codeSamples")]
    pub(super) samples: Vec<Sample>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Sample {
    pub(super) source: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Parameter {
    pub(super) name: String,
    #[serde(rename = "in")]
    pub(super) place: String,
    pub(super) required: bool,
    #[serde(default)]
    pub(super) description: String,
    pub(super) schema: Schema,
}

#[derive(Debug, Deserialize)]
pub(super) struct Body {
    #[serde(default)]
    pub(super) description: String,
    pub(super) content: IndexMap<String, Content>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Response {
    pub(super) description: String,
    #[serde(default)]
    pub(super) content: IndexMap<String, Content>,
    #[serde(default)]
    pub(super) headers: IndexMap<String, Header>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Header {
    #[serde(default)]
    pub(super) description: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Content {
    pub(super) schema: Option<Schema>,
    pub(super) example: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Schema {
    #[serde(rename = "$ref")]
    pub(super) reference: Option<String>,
    pub(super) description: String,
    #[serde(rename = "type")]
    pub(super) kind: Value,
    pub(super) format: Option<String>,
    pub(super) properties: IndexMap<String, Schema>,
    pub(super) required: Vec<String>,
    pub(super) items: Option<Box<Schema>>,
    #[serde(rename = "enum")]
    pub(super) values: Vec<Value>,
    pub(super) one_of: Vec<Schema>,
    pub(super) any_of: Vec<Schema>,
    pub(super) all_of: Vec<Schema>,
    pub(super) examples: Vec<Box<RawValue>>,
}

impl Document {
    /// Returns the operations of a tag with their paths and methods.
    pub(super) fn operations_of<'a>(
        &'a self,
        tag: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a str, &'a Operation)> {
        let all = self.paths.iter().flat_map(|(path, item)| {
            item.iter().map(move |(method, operation)| (path.as_str(), method.as_str(), operation))
        });
        all.filter(move |(_, _, operation)| operation.tags.iter().any(|name| name == tag))
    }

    /// Returns the example of a content, or of the type that it refers to.
    pub(super) fn example(&self, media_type: &str, content: &Content) -> Option<String> {
        if let Some(example) = &content.example {
            return Some(example.as_str().map_or_else(|| example.to_string(), str::to_owned));
        }
        let schema = content.schema.as_ref()?;
        let name = schema.reference.as_deref()?.rsplit('/').next()?;
        let schema = self.components.schemas.get(name)?;
        let example = schema.examples.first()?;
        if media_type == "text/event-stream" {
            let fields: IndexMap<String, String> = serde_json::from_str(example.get()).ok()?;
            let lines = schema.properties.keys().map(|name| Some((name, fields.get(name)?)));
            let lines = lines.map(|line| line.map(|(name, text)| format!("{name}: {text}")));
            return Some(lines.collect::<Option<Vec<_>>>()?.join("\n"));
        }
        Some(pretty(example))
    }
}

/// JSON whose fields keep their order.
#[derive(Deserialize, Serialize)]
#[serde(untagged)]
enum Ordered {
    Object(IndexMap<String, Ordered>),
    List(Vec<Ordered>),
    Plain(Value),
}

/// Returns JSON with a line for each field.
pub(super) fn pretty(json: &RawValue) -> String {
    serde_json::from_str::<Ordered>(json.get())
        .and_then(|json| serde_json::to_string_pretty(&json))
        .unwrap_or_default()
}
