//! The uses of a program's imports: the names that it reads, and whether it calls the imported
//! value itself.
//!
//! Node exposes less of a package than compilers and bundlers do: no names of a CommonJS package
//! that its lexer does not find, and no default export in place of a required module. The uses of
//! an import show which of the two a program was written for.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use oxc_ast::ast::{
    Argument, AwaitExpression, BindingPattern, CallExpression, Class, ExportAllDeclaration,
    ExportFromDeclaration, Expression, IdentifierReference, ImportDeclaration,
    ImportDeclarationSpecifier, JSXElementName, NewExpression, Program, PropertyKey,
    StaticMemberExpression, TSModuleReference, TaggedTemplateExpression, VariableDeclarator,
};
use oxc_ast_visit::{Visit, walk};
use oxc_semantic::{Scoping, SymbolId};

use crate::edits::Edits;

/// The uses of one specifier.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Uses {
    /// Names that an `import` or `export … from` lists.
    pub named: BTreeSet<String>,
    /// Names that are read from a namespace, or from the result of `import()`. They may be missing.
    pub members: BTreeSet<String>,
    /// Use of the default import, if there is one.
    pub default: Option<ValueUse>,
    /// Use of the value of `require()`.
    pub required: Option<ValueUse>,
    /// Whether the namespace is used as a whole.
    pub whole: bool,
}

/// The uses of a value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ValueUse {
    /// Whether the value is called, constructed or extended.
    pub is_called: bool,
    /// Names that are read from the value.
    pub members: BTreeSet<String>,
}

/// The uses of all imports by specifier.
pub type AllUses = BTreeMap<String, Uses>;

/// The modules of Node that programs import most. Node knows all of their names.
const BUILT_IN: [&str; 24] = [
    "assert",
    "buffer",
    "child_process",
    "cluster",
    "crypto",
    "dns",
    "events",
    "fs",
    "fs/promises",
    "http",
    "http2",
    "https",
    "module",
    "net",
    "os",
    "path",
    "process",
    "querystring",
    "readline",
    "stream",
    "timers/promises",
    "url",
    "util",
    "zlib",
];

pub(crate) fn is_built_in(specifier: &str) -> bool {
    specifier.starts_with("node:") || BUILT_IN.contains(&specifier) || specifier == "belljar"
}

/// Finds the uses of imports, and replaces `import * as f` by `import f` if `f` is called, because
/// a namespace cannot be called. The tree is known to be shallow enough to be walked.
pub(crate) fn find(program: &Program<'_>, scoping: &Scoping, edits: &mut Edits) -> AllUses {
    let mut finder = Finder {
        scoping,
        uses: AllUses::new(),
        tracked: BTreeMap::new(),
        called_namespaces: BTreeSet::new(),
    };
    finder.declarations(program);
    finder.visit_program(program);
    let Finder { mut uses, tracked, called_namespaces, .. } = finder;
    for (symbol, binding) in tracked {
        if let Some((star, local)) = binding.star
            && called_namespaces.contains(&symbol)
        {
            edits.blank(star, local);
            let uses = uses.entry(binding.specifier).or_default();
            let members = std::mem::take(&mut uses.members);
            uses.default = Some(ValueUse { is_called: true, members });
        }
    }
    uses
}

/// Returns the uses as JSON, an object by specifier.
pub(crate) fn to_json(all: &AllUses) -> String {
    let mut json = String::from("{");
    for (index, (specifier, uses)) in all.iter().enumerate() {
        json.push_str(if index == 0 { "" } else { "," });
        quote(specifier, &mut json);
        json.push_str(":{\"named\":");
        list(&uses.named, &mut json);
        json.push_str(",\"members\":");
        list(&uses.members, &mut json);
        for (name, value) in [("default", &uses.default), ("required", &uses.required)] {
            if let Some(value) = value {
                let _ = write!(json, ",\"{name}\":{{\"isCalled\":{},\"members\":", value.is_called);
                list(&value.members, &mut json);
                json.push('}');
            }
        }
        let _ = write!(json, ",\"whole\":{}}}", uses.whole);
    }
    json.push('}');
    json
}

fn list(names: &BTreeSet<String>, json: &mut String) {
    json.push('[');
    for (index, name) in names.iter().enumerate() {
        json.push_str(if index == 0 { "" } else { "," });
        quote(name, json);
    }
    json.push(']');
}

/// Writes a string of JSON, which is also one of JavaScript.
pub(crate) fn quote(text: &str, json: &mut String) {
    json.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => json.extend(['\\', character]),
            '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' => {
                let _ = write!(json, "\\u{:04x}", character as u32);
            }
            _ => json.push(character),
        }
    }
    json.push('"');
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Default,
    Namespace,
    Required,
    Dynamic,
}

/// A name of the program for an import.
struct Binding {
    specifier: String,
    kind: Kind,
    /// The star of `* as name` and the start of the name.
    star: Option<(u32, u32)>,
}

struct Finder<'s> {
    scoping: &'s Scoping,
    uses: AllUses,
    tracked: BTreeMap<SymbolId, Binding>,
    called_namespaces: BTreeSet<SymbolId>,
}

enum Use<'u> {
    Called,
    Member(&'u str),
    Whole,
}

impl Finder<'_> {
    /// Collects the imports first, because they may follow their uses.
    fn declarations(&mut self, program: &Program<'_>) {
        for statement in &program.body {
            if let oxc_ast::ast::Statement::ImportDeclaration(it) = statement {
                self.import(it);
            }
        }
    }

    fn import(&mut self, it: &ImportDeclaration<'_>) {
        if it.import_kind.is_type() || is_built_in(&it.source.value) || it.with_clause.is_some() {
            return;
        }
        for specifier in it.specifiers.iter().flatten() {
            match specifier {
                ImportDeclarationSpecifier::ImportSpecifier(named)
                    if named.import_kind.is_type() => {}
                ImportDeclarationSpecifier::ImportSpecifier(named)
                    if named.imported.name() == "default" =>
                {
                    self.track(named.local.symbol_id.get(), &it.source.value, Kind::Default, None);
                }
                ImportDeclarationSpecifier::ImportSpecifier(named) => {
                    let is_type =
                        named.local.symbol_id.get().is_some_and(|symbol| self.is_of_types(symbol));
                    if !is_type {
                        self.uses_of(&it.source.value)
                            .named
                            .insert(named.imported.name().to_string());
                    }
                }
                ImportDeclarationSpecifier::ImportDefaultSpecifier(default) => {
                    self.track(
                        default.local.symbol_id.get(),
                        &it.source.value,
                        Kind::Default,
                        None,
                    );
                }
                ImportDeclarationSpecifier::ImportNamespaceSpecifier(namespace) => {
                    let star = (namespace.span.start, namespace.local.span.start);
                    self.track(
                        namespace.local.symbol_id.get(),
                        &it.source.value,
                        Kind::Namespace,
                        Some(star),
                    );
                }
            }
        }
    }

    /// Returns whether all references to a name are types, and there are some.
    fn is_of_types(&self, symbol: SymbolId) -> bool {
        let mut references = self.scoping.get_resolved_references(symbol).peekable();
        references.peek().is_some() && references.all(oxc_semantic::Reference::is_type)
    }

    fn uses_of(&mut self, specifier: &str) -> &mut Uses {
        self.uses.entry(specifier.to_owned()).or_default()
    }

    fn track(
        &mut self,
        symbol: Option<SymbolId>,
        specifier: &str,
        kind: Kind,
        star: Option<(u32, u32)>,
    ) {
        let uses = self.uses_of(specifier);
        match kind {
            Kind::Default => {
                uses.default.get_or_insert_default();
            }
            Kind::Required => {
                uses.required.get_or_insert_default();
            }
            Kind::Namespace | Kind::Dynamic => {}
        }
        if let Some(symbol) = symbol {
            self.tracked.insert(symbol, Binding { specifier: specifier.to_owned(), kind, star });
        }
    }

    fn symbol_of(&self, it: &IdentifierReference<'_>) -> Option<SymbolId> {
        self.scoping.get_reference(it.reference_id.get()?).symbol_id()
    }

    fn record(&mut self, specifier: &str, kind: Kind, used: &Use<'_>) {
        let of_specifier = self.uses_of(specifier);
        let value = match kind {
            Kind::Default => of_specifier.default.get_or_insert_default(),
            Kind::Required => of_specifier.required.get_or_insert_default(),
            Kind::Namespace | Kind::Dynamic => {
                match used {
                    Use::Member(name) => {
                        of_specifier.members.insert((*name).to_owned());
                    }
                    Use::Whole | Use::Called => of_specifier.whole = true,
                }
                return;
            }
        };
        match used {
            Use::Called => value.is_called = true,
            Use::Member(name) => {
                value.members.insert((*name).to_owned());
            }
            Use::Whole => {}
        }
    }

    /// Records a use of an expression if it is a name of an import, or an import itself. Returns
    /// whether it is.
    fn used(&mut self, expression: &Expression<'_>, used: &Use<'_>) -> bool {
        match expression.get_inner_expression() {
            Expression::Identifier(it) => self.reference(it, used),
            other => match self.imported_by(other) {
                Some((specifier, kind)) => {
                    self.record(&specifier, kind, used);
                    true
                }
                None => false,
            },
        }
    }

    fn reference(&mut self, it: &IdentifierReference<'_>, used: &Use<'_>) -> bool {
        let Some(symbol) = self.symbol_of(it) else { return false };
        let Some(binding) = self.tracked.get(&symbol) else { return false };
        if matches!(used, Use::Called) && binding.kind == Kind::Namespace {
            self.called_namespaces.insert(symbol);
            return true;
        }
        let (specifier, kind) = (binding.specifier.clone(), binding.kind);
        self.record(&specifier, kind, used);
        true
    }

    /// Returns the specifier of `require("…")` or `await import("…")`.
    fn imported_by(&self, expression: &Expression<'_>) -> Option<(String, Kind)> {
        let specifier = |argument: &Expression<'_>| match argument {
            Expression::StringLiteral(it) if !is_built_in(&it.value) => Some(it.value.to_string()),
            _ => None,
        };
        match expression {
            Expression::CallExpression(call) => {
                let Expression::Identifier(callee) = &call.callee else { return None };
                if callee.name != "require"
                    || self.symbol_of(callee).is_some()
                    || call.arguments.len() != 1
                {
                    return None;
                }
                Some((
                    specifier(call.arguments.first().and_then(Argument::as_expression)?)?,
                    Kind::Required,
                ))
            }
            Expression::AwaitExpression(it) => match &it.argument {
                Expression::ImportExpression(it) if it.options.is_none() => {
                    Some((specifier(&it.source)?, Kind::Dynamic))
                }
                _ => None,
            },
            _ => None,
        }
    }

    fn pattern(&mut self, pattern: &BindingPattern<'_>, specifier: &str, kind: Kind) {
        match pattern {
            BindingPattern::BindingIdentifier(id) => {
                self.track(id.symbol_id.get(), specifier, kind, None);
            }
            BindingPattern::ObjectPattern(it) => {
                for property in &it.properties {
                    match &property.key {
                        PropertyKey::StaticIdentifier(name) => {
                            self.record(specifier, kind, &Use::Member(&name.name));
                        }
                        PropertyKey::StringLiteral(name) => {
                            self.record(specifier, kind, &Use::Member(&name.value));
                        }
                        _ => self.record(specifier, kind, &Use::Whole),
                    }
                }
                if it.rest.is_some() {
                    self.record(specifier, kind, &Use::Whole);
                }
            }
            _ => self.record(specifier, kind, &Use::Whole),
        }
    }
}

impl<'a> Visit<'a> for Finder<'_> {
    fn visit_variable_declarator(&mut self, it: &VariableDeclarator<'a>) {
        match it.init.as_ref().map(Expression::get_inner_expression) {
            Some(Expression::Identifier(reference))
                if matches!(it.id, BindingPattern::ObjectPattern(_)) =>
            {
                let tracked =
                    self.symbol_of(reference).and_then(|symbol| self.tracked.get(&symbol));
                if let Some((specifier, kind)) =
                    tracked.map(|binding| (binding.specifier.clone(), binding.kind))
                {
                    self.pattern(&it.id, &specifier, kind);
                    return walk::walk_binding_pattern(self, &it.id);
                }
            }
            Some(init) => {
                if let Some((specifier, kind)) = self.imported_by(init) {
                    self.pattern(&it.id, &specifier, kind);
                    return walk::walk_binding_pattern(self, &it.id);
                }
            }
            None => {}
        }
        walk::walk_variable_declarator(self, it);
    }

    fn visit_static_member_expression(&mut self, it: &StaticMemberExpression<'a>) {
        if !self.used(&it.object, &Use::Member(&it.property.name)) {
            walk::walk_static_member_expression(self, it);
        }
    }

    fn visit_call_expression(&mut self, it: &CallExpression<'a>) {
        if self.used(&it.callee, &Use::Called) {
            self.visit_arguments(&it.arguments);
            return;
        }
        // `import("…").then(({ a }) => …)`, `import("…").then((m) => …)`
        if let Expression::StaticMemberExpression(member) = &it.callee
            && member.property.name == "then"
            && let Expression::ImportExpression(import) = &member.object
            && let Expression::StringLiteral(specifier) = &import.source
            && import.options.is_none()
            && !is_built_in(&specifier.value)
        {
            let parameter = match it.arguments.first() {
                Some(Argument::ArrowFunctionExpression(then)) => {
                    then.params.items.first().map(|item| &item.pattern)
                }
                Some(Argument::FunctionExpression(then)) => {
                    then.params.items.first().map(|item| &item.pattern)
                }
                _ => None,
            };
            match parameter {
                Some(pattern) => self.pattern(pattern, &specifier.value, Kind::Dynamic),
                None => self.record(&specifier.value, Kind::Dynamic, &Use::Whole),
            }
        }
        if let Some((specifier, kind)) =
            it.callee.is_specific_id("require").then(|| self.imported_by_call(it)).flatten()
        {
            self.record(&specifier, kind, &Use::Whole);
        }
        walk::walk_call_expression(self, it);
    }

    fn visit_new_expression(&mut self, it: &NewExpression<'a>) {
        if self.used(&it.callee, &Use::Called) {
            self.visit_arguments(&it.arguments);
        } else {
            walk::walk_new_expression(self, it);
        }
    }

    fn visit_tagged_template_expression(&mut self, it: &TaggedTemplateExpression<'a>) {
        if self.used(&it.tag, &Use::Called) {
            self.visit_template_literal(&it.quasi);
        } else {
            walk::walk_tagged_template_expression(self, it);
        }
    }

    fn visit_class(&mut self, it: &Class<'a>) {
        if let Some(heritage) = &it.heritage {
            self.used(&heritage.expression, &Use::Called);
        }
        walk::walk_class(self, it);
    }

    fn visit_jsx_element_name(&mut self, it: &JSXElementName<'a>) {
        match it {
            JSXElementName::IdentifierReference(reference) => {
                self.reference(reference, &Use::Called);
            }
            JSXElementName::MemberExpression(member) => {
                if let oxc_ast::ast::JSXMemberExpressionObject::IdentifierReference(reference) =
                    &member.object
                {
                    self.reference(reference, &Use::Member(&member.property.name));
                }
            }
            _ => {}
        }
    }

    fn visit_identifier_reference(&mut self, it: &IdentifierReference<'a>) {
        let is_type =
            it.reference_id.get().is_some_and(|id| self.scoping.get_reference(id).is_type());
        if !is_type {
            self.reference(it, &Use::Whole);
        }
    }

    fn visit_await_expression(&mut self, it: &AwaitExpression<'a>) {
        if let Expression::ImportExpression(import) = &it.argument
            && let Expression::StringLiteral(specifier) = &import.source
            && import.options.is_none()
            && !is_built_in(&specifier.value)
        {
            self.record(&specifier.value, Kind::Dynamic, &Use::Whole);
        }
        walk::walk_await_expression(self, it);
    }

    fn visit_export_from_declaration(&mut self, it: &ExportFromDeclaration<'a>) {
        if it.export_kind.is_type() || is_built_in(&it.source.value) || it.with_clause.is_some() {
            return;
        }
        for specifier in it.specifiers.iter().filter(|specifier| specifier.export_kind.is_value()) {
            let uses = self.uses_of(&it.source.value);
            match specifier.local.name().as_str() {
                "default" => {
                    uses.default.get_or_insert_default();
                }
                name => {
                    uses.named.insert(name.to_owned());
                }
            }
        }
    }

    fn visit_export_all_declaration(&mut self, it: &ExportAllDeclaration<'a>) {
        if it.export_kind.is_value() && !is_built_in(&it.source.value) {
            self.uses_of(&it.source.value).whole = true;
        }
    }

    fn visit_ts_import_equals_declaration(
        &mut self,
        it: &oxc_ast::ast::TSImportEqualsDeclaration<'a>,
    ) {
        if let TSModuleReference::ExternalModuleReference(reference) = &it.module_reference
            && it.import_kind.is_value()
        {
            self.track(it.id.symbol_id.get(), &reference.expression.value, Kind::Required, None);
        }
    }
}

impl Finder<'_> {
    fn imported_by_call(&self, call: &CallExpression<'_>) -> Option<(String, Kind)> {
        let Expression::Identifier(callee) = &call.callee else { return None };
        match call.arguments.first()? {
            Argument::StringLiteral(it)
                if self.symbol_of(callee).is_none() && !is_built_in(&it.value) =>
            {
                Some((it.value.to_string(), Kind::Required))
            }
            _ => None,
        }
    }
}
