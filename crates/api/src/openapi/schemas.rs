//! Corrections of the schemas that are derived from types, and their examples.
//!
//! The example of a type is the first raw string in the documentation test of the type, so that
//! there is no example that does not parse.

use indexmap::IndexMap;
use utoipa::openapi::path::Parameter;
use utoipa::openapi::schema::{ArrayItems, OneOf, SchemaType, Type};
use utoipa::openapi::{OpenApi, RefOr, Schema};

/// Corrects the schemas of the document. Returns the examples of its components, as JSON.
pub(super) fn complete(document: &mut OpenApi) -> IndexMap<String, String> {
    let mut examples = IndexMap::new();
    let Some(components) = &mut document.components else { return examples };
    for (name, schema) in &mut components.schemas {
        let RefOr::T(schema) = schema else { continue };
        if let Some(description) = description(schema)
            && let Some((text, example)) = without_code(description)
        {
            *description = text;
            examples.extend(example.map(|example| (name.clone(), example)));
        }
        if let Schema::Object(object) = schema {
            object.properties.values_mut().for_each(keep_description);
        }
    }
    let document = &*document;
    let schemas = document.components.iter().flat_map(|components| &components.schemas);
    let composed: Vec<_> = schemas
        .filter(|(name, schema)| !examples.contains_key(*name) && is_object(schema))
        .filter_map(|(name, schema)| Some((name.clone(), example(document, &examples, schema)?)))
        .collect();
    examples.extend(composed);
    examples
}

/// Corrects the schema of a parameter. A parameter that may be omitted is derived from `Option`,
/// but cannot be null.
pub(super) fn without_null(parameter: &mut Parameter) {
    let Some(schema) = &mut parameter.schema else { return };
    match schema {
        RefOr::T(Schema::Object(object)) => not_null(&mut object.schema_type),
        RefOr::T(Schema::Array(array)) => not_null(&mut array.schema_type),
        RefOr::T(Schema::OneOf(one_of)) => {
            one_of.items.retain(|item| !is_null(item));
            if let [RefOr::Ref(only)] = &one_of.items[..] {
                *schema = RefOr::Ref(only.clone());
            }
        }
        _ => {}
    }
}

fn not_null(kind: &mut SchemaType) {
    if let SchemaType::Array(kinds) = kind {
        kinds.retain(|kind| *kind != Type::Null);
        if let [only] = &kinds[..] {
            *kind = SchemaType::Type(only.clone());
        }
    }
}

fn is_null(schema: &RefOr<Schema>) -> bool {
    let RefOr::T(Schema::Object(object)) = schema else { return false };
    object.schema_type == SchemaType::Type(Type::Null)
}

fn is_object(schema: &RefOr<Schema>) -> bool {
    matches!(schema, RefOr::T(Schema::Object(object)) if !object.properties.is_empty())
}

fn description(schema: &mut Schema) -> Option<&mut String> {
    match schema {
        Schema::Object(object) => object.description.as_mut(),
        Schema::Array(array) => array.description.as_mut(),
        Schema::OneOf(one_of) => one_of.description.as_mut(),
        Schema::AllOf(all_of) => all_of.description.as_mut(),
        Schema::AnyOf(any_of) => any_of.description.as_mut(),
        _ => None,
    }
}

/// Moves the description of a field that may be null from the reference to the field, where
/// readers and generators look for it.
fn keep_description(property: &mut RefOr<Schema>) {
    if let RefOr::T(Schema::OneOf(OneOf { items, description, .. })) = property
        && description.is_none()
        && items.iter().any(is_null)
    {
        for item in items {
            if let RefOr::Ref(reference) = item
                && !reference.description.is_empty()
            {
                *description = Some(std::mem::take(&mut reference.description));
            }
        }
    }
}

/// Returns a description without its documentation test, and the JSON that the test parses. Returns
/// `None` if there is no test.
fn without_code(description: &str) -> Option<(String, Option<String>)> {
    let (before, rest) = description.split_once("\n```")?;
    let (code, after) = rest.split_once("\n```")?;
    let example = code.split_once("r#\"").and_then(|(_, rest)| rest.split_once("\"#"));
    let text = format!("{}\n\n{}", before.trim_end(), after.trim_start());
    Some((text.trim_end().to_owned(), example.map(|(json, _)| json.to_owned())))
}

/// Returns an example of a schema, composed of the examples of its parts. Returns `None` if a part
/// has none: a text without a meaning would be no example.
pub(super) fn example(
    document: &OpenApi,
    known: &IndexMap<String, String>,
    schema: &RefOr<Schema>,
) -> Option<String> {
    let schema = match schema {
        RefOr::Ref(reference) => {
            let name = reference.ref_location.rsplit('/').next()?;
            if let Some(example) = known.get(name) {
                return Some(example.clone());
            }
            let schema = document.components.as_ref()?.schemas.get(name)?;
            return example(document, known, schema);
        }
        RefOr::T(schema) => schema,
    };
    match schema {
        Schema::Object(object) if !object.examples.is_empty() => {
            serde_json::to_string(&object.examples[0]).ok()
        }
        Schema::Object(object) if !object.properties.is_empty() => {
            let mut fields = Vec::new();
            for (name, field) in &object.properties {
                let example = example(document, known, field);
                // Of the fields that may be null, only those without an example are shown.
                match (example, object.required.contains(name)) {
                    (None, true) => return None,
                    (Some(json), true) => fields.push(format!("  {name:?}: {}", indented(&json))),
                    (Some(json), false) if json == "null" => {
                        fields.push(format!("  {name:?}: null"));
                    }
                    (_, false) => {}
                }
            }
            Some(format!("{{\n{}\n}}", fields.join(",\n")))
        }
        Schema::Array(array) => {
            let ArrayItems::RefOrSchema(items) = &array.items else { return None };
            Some(format!("[{}]", example(document, known, items)?))
        }
        Schema::Object(object) => match &object.schema_type {
            SchemaType::Array(kinds) if kinds.contains(&Type::Null) => Some("null".to_owned()),
            _ => None,
        },
        _ => None,
    }
}

fn indented(json: &str) -> String {
    json.replace('\n', "\n  ")
}
