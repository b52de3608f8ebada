//! Lowers decorators and accessors of ECMAScript (the proposal of November 2023), which V8 does not
//! have, on a program that was printed.
//!
//! Every piece of a class stays where it is, so that an evaluation order is the text's:
//!
//! * Decorators of an element are evaluated in the key of a static method that is put before the
//!   element and taken away again.
//! * A static block at the start of the class applies them all.
//! * What a field's decorators do to its value is done around the value. Private fields that are
//!   put between the elements run what decorators added to run.
//!
//! The class with its state, `__belljar_1` and so on, is made in a function that is called at once.
//! docs/reference/results.md says what is supported.

use std::fmt::Write as _;

use oxc_ast::ast::{
    AccessorProperty, ArrowFunctionExpression, AssignmentExpression, AssignmentPattern,
    AwaitExpression, BindingPattern, Class, ClassElement, Decorator, ExportDeclaration,
    ExportDefaultDeclaration, ExportDefaultDeclarationKind, Expression, Function, MethodDefinition,
    MethodDefinitionKind, ObjectProperty, Program, PropertyDefinition, PropertyKey, Statement,
    VariableDeclarator,
};
use oxc_ast_visit::{Visit, walk};
use oxc_semantic::ScopeFlags;
use oxc_span::{GetSpan, Span};

use crate::edits::Edits;
use crate::trivia::{find_punctuator, skip_trivia};
use crate::uses::quote;

/// The state of a class with decorators. `e` registers an element and `k` its computed key, which
/// `y` returns again. `m` stores a private method, `a` applies all decorators, `f`, `x` and `i` run
/// initializers, and `z` runs those of the class.
pub(crate) const HELPER: &str = "var __belljar_decorators=(()=>{\
const S=Symbol,M=S.metadata??S.for('Symbol.metadata');\
if(S.metadata===undefined)Object.defineProperty(S,'metadata',{value:M,writable:true,configurable:true});\
const fn=(f)=>{if(f!==undefined&&typeof f!=='function')throw new TypeError('Function expected');return f};\
const run=(self,list)=>{for(let i=0;i<list.length;i++)list[i].call(self)};\
const named=(f,name)=>Object.defineProperty(f,'name',{value:name,configurable:true});\
return()=>{\
const elements=[],temps=[],classDecorators=[],classExtra=[],staticExtra=[],instanceExtra=[];\
const _={o:undefined,r:undefined,\
c(list){classDecorators.push(...list)},\
b(object,key){const f=object[key];return typeof f==='function'?f.bind(object):f},\
e(index,kind,isStatic,name,decorators){const temp=S();temps.push(temp);\
elements[index]={kind,isStatic,name:name===undefined?undefined:String(name),decorators,isPrivate:false,init:[],extra:[],park:S(),value:undefined};return temp},\
k(index,key){key=typeof key==='symbol'?key:typeof key==='object'||typeof key==='function'?Reflect.ownKeys({[key]:0})[0]:String(key);\
(elements[index]??={}).name=key;return key},\
n(index,f){const d=Object.getOwnPropertyDescriptor(f,'name');const {name}=elements[index];\
return d&&d.value!==''?f:named(f,typeof name==='symbol'?(name.description===undefined?'':`[${name.description}]`):name)},\
y(index){return elements[index].name},m(index){return elements[index].park},\
p(index){return elements[index].value},\
f(index,self,value){const {init}=elements[index];for(let i=0;i<init.length;i++)value=init[i].call(self,value);return value},\
x(index,self){run(self,elements[index].extra)},\
i(self){run(self,instanceExtra)},\
z(){run(_.r,classExtra)},\
a(home,privates,rebind){\
_.o=_.r=home;for(const temp of temps)delete home[temp];\
const parent=Object.getPrototypeOf(home);const metadata=Object.create(parent===null||parent===Function.prototype?null:parent[M]??null);\
const isField=({kind})=>kind==='field'||kind==='accessor';\
const decorated=elements.map((element,index)=>({element,index})).filter(({element})=>element.decorators);\
const inOrder=[[true,false],[false,false],[true,true],[false,true]].flatMap(([isStatic,fields])=>\
decorated.filter(({element})=>element.isStatic===isStatic&&(element.kind==='field')===fields));\
for(const {element,index} of inOrder)apply(element,privates[index]);\
function apply(element,access){\
const {kind,name,isStatic,decorators,init,park}=element;\
const target=isStatic?home:home.prototype;const slot=kind==='getter'?'get':kind==='setter'?'set':'value';\
const extra=isField(element)?element.extra:isStatic?staticExtra:instanceExtra;\
let d;\
if(kind==='field')d={};\
else if(access===undefined)d=Object.getOwnPropertyDescriptor(target,name);\
else if(kind==='accessor')d={get:named(access[3],`get ${name}`),set:named(access[4],`set ${name}`)};\
else{d=Object.getOwnPropertyDescriptor(target,park);delete target[park];named(d[slot],slot==='value'?name:`${slot} ${name}`)}\
const own={has:access?access[0]:(o)=>name in o,get:access?access[1]:(o)=>o[name],set:access?access[2]:(o,v)=>{o[name]=v}};\
if(kind==='method'||kind==='getter')delete own.set;if(kind==='setter')delete own.get;\
let done=false;\
for(let i=decorators.length-1;i>=0;i--){\
const context={kind,name,static:isStatic,private:access!==undefined,access:{...own},metadata,\
addInitializer(f){if(done)throw new TypeError('Cannot add initializers after decoration has completed');\
if(typeof f!=='function')throw new TypeError('Function expected');extra.push(f)}};\
const result=(0,decorators[i])(kind==='accessor'?{get:d.get,set:d.set}:d[slot],context);\
if(kind==='accessor'){if(result===undefined)continue;\
if(result===null||typeof result!=='object')throw new TypeError('Object expected');\
let f;if((f=fn(result.get)))d.get=f;if((f=fn(result.set)))d.set=f;if((f=fn(result.init)))init.unshift(f)}\
else if(fn(result)!==undefined){if(kind==='field')init.unshift(result);else d[slot]=result}}\
done=true;\
if(kind==='field')return;\
if(access===undefined)Object.defineProperty(target,name,d);else element.value=kind==='accessor'?d:d[slot]}\
let done=false;const {name}=home;\
for(let i=classDecorators.length-1;i>=0;i--){\
const context={kind:'class',name,metadata,addInitializer(f){if(done)throw new TypeError('Cannot add initializers after decoration has completed');\
if(typeof f!=='function')throw new TypeError('Function expected');classExtra.push(f)}};\
const result=fn((0,classDecorators[i])(_.r,context));if(result!==undefined)_.r=result}\
done=true;\
if(decorated.length||classDecorators.length)Object.defineProperty(_.r,M,{value:metadata,writable:true,enumerable:true,configurable:true});\
if(rebind)rebind(_.r);run(_.r,staticExtra)}};\
return _}})();";

/// Returns whether a program may have decorators or accessors. The check is cheap, and errs only by
/// searching in vain.
pub(crate) fn may_be_in(source: &str) -> bool {
    source.contains('@') || source.contains("accessor")
}

/// Adds the edits that lower the decorators and accessors of a printed program. Returns whether
/// [`HELPER`] is needed.
pub(crate) fn lower(program: &Program<'_>, edits: &mut Edits) -> bool {
    let mut lowerer = Lowerer {
        source: program.source_text,
        edits,
        classes: 0,
        storages: 0,
        name: None,
        needs_helper: false,
    };
    lowerer.visit_program(program);
    lowerer.needs_helper
}

struct Lowerer<'s, 'e> {
    source: &'s str,
    edits: &'e mut Edits,
    classes: usize,
    /// The number of private names that were generated.
    storages: usize,
    /// The name that an anonymous class gets from its place.
    name: Option<String>,
    needs_helper: bool,
}

/// The context of a class.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Expression,
    Declaration,
    ExportDefault { start: u32 },
}

/// The parts of an element that are written into the static block.
#[derive(Default)]
struct Applied {
    privates: String,
    has_decorators: bool,
    has_instance_methods: bool,
}

impl Lowerer<'_, '_> {
    fn text(&self, span: Span) -> &str {
        &self.source[span.start as usize..span.end as usize]
    }

    fn class(&mut self, it: &Class<'_>, place: Place) {
        let name = self.name.take();
        let needs_state = !it.decorators.is_empty() || it.body.body.iter().any(needs_state);
        let has_accessors =
            it.body.body.iter().any(|element| matches!(element, ClassElement::AccessorProperty(_)));
        if !needs_state && !has_accessors {
            return;
        }
        self.classes += 1;
        let state = format!("__belljar_{}", self.classes);
        let mut applied = Applied::default();
        for (index, element) in it.body.body.iter().enumerate() {
            match element {
                ClassElement::MethodDefinition(it) => self.method(it, index, &state, &mut applied),
                ClassElement::PropertyDefinition(it) => {
                    self.property(it, index, &state, &mut applied);
                }
                ClassElement::AccessorProperty(it) => {
                    self.accessor(it, index, &state, &mut applied);
                }
                _ => {}
            }
        }
        if needs_state {
            self.needs_helper = true;
            self.wrap(it, place, &state, name.as_deref(), &applied);
        }
    }

    fn wrap(
        &mut self,
        it: &Class<'_>,
        place: Place,
        state: &str,
        name: Option<&str>,
        applied: &Applied,
    ) {
        let id = it.id.as_ref().map(|id| id.name.to_string());
        let is_decorated = !it.decorators.is_empty();
        let start = it
            .decorators
            .first()
            .map_or(it.span.start, |first| first.span.start.min(it.span.start));
        let keyword = skip_trivia(
            self.source,
            it.decorators.last().map_or(it.span.start, |last| last.span.end.max(it.span.start)),
        );
        // The decorators may precede `export`, which is then between them and the class.
        let is_apart = self.text(Span::new(keyword, it.span.end)).starts_with("export");
        let keyword = if is_apart { it.span.start.max(keyword) } else { keyword };

        let awaits = AwaitFinder::is_in(it);
        let mut open = String::new();
        let mut close = String::new();
        match place {
            Place::ExportDefault { start } => match &id {
                Some(id) => {
                    self.edits.replace(start, start + "export".len() as u32, "");
                    let default = self.source[start as usize..]
                        .find("default")
                        .map_or(start, |at| start + at as u32);
                    self.edits.replace(default, default + "default".len() as u32, "");
                    open = format!("let {id} = ");
                    close = format!("; export {{ {id} as default }};");
                }
                None => close.push(';'),
            },
            Place::Declaration => {
                if let Some(id) = &id {
                    open = format!("let {id} = ");
                    close.push(';');
                }
            }
            Place::Expression => {}
        }
        open.push_str(if awaits { "(await (async (" } else { "(((" });
        open.push_str(state);
        open.push_str(") => { ");
        if is_decorated {
            self.decorator_list(&it.decorators, &format!("{state}.c(["), "]); ", state);
        }
        let mut rebind = String::new();
        let (before, after) = match (&id, is_decorated) {
            // The name within the class refers to the class that the decorators return.
            (Some(id), true) => {
                let span = it.id.as_ref().map_or(it.span, |id| id.span);
                self.edits.blank(span.start, span.end);
                rebind = format!(", (__belljar_class) => {{ {id} = __belljar_class; }}");
                (
                    format!("let {id}; void {{ {id}: "),
                    format!(" }}; return {state}.r; }})(__belljar_decorators()))"),
                )
            }
            (Some(_), false) => ("return ".to_owned(), "; })(__belljar_decorators()))".to_owned()),
            (None, _) => {
                let mut key = String::new();
                quote(name.unwrap_or(""), &mut key);
                (
                    format!("void {{ {key}: "),
                    format!(" }}; return {state}.r; }})(__belljar_decorators()))"),
                )
            }
        };
        // Of several insertions at one place, the last one comes first.
        self.edits.insert_before(keyword, before);
        self.edits.insert_before(start, open);
        self.edits.insert_after(it.span.end, format!("{after}{close}"));

        let mut first =
            format!(" static {{ {state}.a(this, {{ {} }}{rebind}); }}", applied.privates);
        if applied.has_instance_methods {
            let _ = write!(first, " #__belljar_i = {state}.i(this);");
        }
        // In an empty class, both are inserted at the same place, where the one that was added last
        // comes first.
        if is_decorated {
            self.edits.insert_before(it.body.span.end - 1, format!(" static {{ {state}.z(); }}"));
        }
        self.edits.insert_before(it.body.span.start + 1, first);
    }

    /// Replaces `@a @b` by `open a, b close`.
    fn decorator_list(
        &mut self,
        decorators: &[Decorator<'_>],
        open: &str,
        close: &str,
        state: &str,
    ) {
        for (index, decorator) in decorators.iter().enumerate() {
            let span = decorator.expression.span();
            self.edits.replace(
                decorator.span.start,
                decorator.span.start + 1,
                if index == 0 { open.to_owned() } else { ", ".to_owned() },
            );
            self.bound(&decorator.expression, state);
            if index + 1 == decorators.len() {
                self.edits.insert_after(span.end.max(decorator.span.end), close.to_owned());
            }
        }
    }

    /// Calls a decorator that is a method on its object.
    fn bound(&mut self, expression: &Expression<'_>, state: &str) {
        match expression.without_parentheses() {
            Expression::StaticMemberExpression(it)
                if !matches!(it.object, Expression::Super(_)) =>
            {
                self.edits.insert_before(it.span.start, format!("{state}.b("));
                self.edits.replace(it.object.span().end, it.property.span.start, ", \"");
                self.edits.insert_after(it.property.span.end, "\")");
            }
            Expression::ComputedMemberExpression(it)
                if !matches!(it.object, Expression::Super(_)) =>
            {
                self.edits.insert_before(it.span.start, format!("{state}.b("));
                if let Some(bracket) = find_punctuator(self.source, it.object.span().end, b'[') {
                    self.edits.replace(bracket, bracket + 1, ", ");
                }
                self.edits.replace(it.span.end - 1, it.span.end, ")");
            }
            Expression::PrivateFieldExpression(it) => {
                let field = it.field.name;
                self.edits.insert_before(
                    it.span.start,
                    format!("((__belljar_o) => __belljar_o.#{field}.bind(__belljar_o))("),
                );
                self.edits.replace(it.object.span().end, it.span.end, ")");
            }
            Expression::StaticMemberExpression(it) => {
                self.edits.insert_after(it.span.end, ".bind(this)");
            }
            Expression::ComputedMemberExpression(it) => {
                self.edits.insert_after(it.span.end, ".bind(this)");
            }
            _ => {}
        }
    }

    /// Inserts the evaluation of an element's decorators before it.
    fn register(
        &mut self,
        decorators: &[Decorator<'_>],
        index: usize,
        kind: &str,
        is_static: bool,
        key: (&PropertyKey<'_>, bool),
        state: &str,
    ) {
        let name = if key.1 { "void 0".to_owned() } else { self.key_value(key.0) };
        let open = format!(";static [{state}.e({index}, \"{kind}\", {is_static}, {name}, [");
        self.decorator_list(decorators, &open, "])]() {} ", state);
        if key.1 {
            self.computed_key(key.0, index, state);
        }
    }

    fn computed_key(&mut self, key: &PropertyKey<'_>, index: usize, state: &str) {
        let span = key.span();
        self.edits.insert_before(span.start, format!("{state}.k({index}, "));
        self.edits.insert_after(span.end, ")");
    }

    /// Returns an expression for a name that is not computed.
    fn key_value(&self, key: &PropertyKey<'_>) -> String {
        let mut text = String::new();
        match key {
            PropertyKey::StaticIdentifier(id) => quote(&id.name, &mut text),
            PropertyKey::PrivateIdentifier(id) => quote(&format!("#{}", id.name), &mut text),
            other => self.text(other.span()).clone_into(&mut text),
        }
        text
    }

    /// Returns the position after a member's name, and after the bracket of a computed one.
    fn after_key(&self, key: &PropertyKey<'_>, computed: bool) -> u32 {
        let end = key.span().end;
        if computed {
            find_punctuator(self.source, end, b']').map_or(end, |at| at + 1)
        } else {
            end
        }
    }

    fn method(
        &mut self,
        it: &MethodDefinition<'_>,
        index: usize,
        state: &str,
        applied: &mut Applied,
    ) {
        if it.decorators.is_empty() {
            return;
        }
        let kind = match it.kind {
            MethodDefinitionKind::Get => "getter",
            MethodDefinitionKind::Set => "setter",
            _ => "method",
        };
        applied.has_decorators = true;
        applied.has_instance_methods |= !it.r#static;
        self.register(&it.decorators, index, kind, it.r#static, (&it.key, it.computed), state);
        let PropertyKey::PrivateIdentifier(id) = &it.key else { return };
        let name = &id.name;
        self.edits.replace(id.span.start, id.span.end, format!("[{state}.m({index})]"));
        let word = if it.r#static { "static " } else { "" };
        let stand_in = match kind {
            "getter" => format!(" {word}get #{name}() {{ return {state}.p({index}).call(this); }}"),
            "setter" => format!(" {word}set #{name}(v) {{ {state}.p({index}).call(this, v); }}"),
            _ => format!(" {word}get #{name}() {{ return {state}.p({index}); }}"),
        };
        self.edits.insert_after(it.span.end, stand_in);
        let _ = write!(
            applied.privates,
            "{index}: [(o) => #{name} in o, (o) => o.#{name}, (o, v) => {{ o.#{name} = v; }}], "
        );
    }

    fn property(
        &mut self,
        it: &PropertyDefinition<'_>,
        index: usize,
        state: &str,
        applied: &mut Applied,
    ) {
        if it.decorators.is_empty() {
            return;
        }
        applied.has_decorators = true;
        self.register(&it.decorators, index, "field", it.r#static, (&it.key, it.computed), state);
        self.initialized(it.value.as_ref(), self.after_key(&it.key, it.computed), index, state);
        self.run_extra(it.span.end, index, it.r#static, state);
        if let PropertyKey::PrivateIdentifier(id) = &it.key {
            let name = &id.name;
            let _ = write!(
                applied.privates,
                "{index}: [(o) => #{name} in o, (o) => o.#{name}, (o, v) => {{ o.#{name} = v; }}], "
            );
        }
    }

    /// Runs the initializers around a value.
    fn initialized(
        &mut self,
        value: Option<&Expression<'_>>,
        after_key: u32,
        index: usize,
        state: &str,
    ) {
        match value {
            Some(value) => {
                let span = value.span();
                let is_anonymous = is_anonymous_function(value);
                let open = if is_anonymous {
                    format!("{state}.f({index}, this, {state}.n({index}, ")
                } else {
                    format!("{state}.f({index}, this, ")
                };
                self.edits.insert_before(span.start, open);
                self.edits.insert_after(span.end, if is_anonymous { "))" } else { ")" });
            }
            None => {
                self.edits.insert_after(after_key, format!(" = {state}.f({index}, this, void 0)"));
            }
        }
    }

    /// Runs the initializers that decorators added, after the element.
    fn run_extra(&mut self, end: u32, index: usize, is_static: bool, state: &str) {
        self.edits.insert_after(
            end,
            if is_static {
                format!("; static {{ {state}.x({index}, this); }}")
            } else {
                format!("; #__belljar_x{index} = {state}.x({index}, this);")
            },
        );
    }

    fn accessor(
        &mut self,
        it: &AccessorProperty<'_>,
        index: usize,
        state: &str,
        applied: &mut Applied,
    ) {
        let is_decorated = !it.decorators.is_empty();
        let key = it.key.span();
        let start = it.decorators.last().map_or(it.span.start, |last| last.span.end);
        let Some(word) =
            self.text(Span::new(start, key.start)).rfind("accessor").map(|at| start + at as u32)
        else {
            return;
        };
        self.edits.replace(word, word + "accessor".len() as u32, "get");
        self.storages += 1;
        let storage = format!("#__belljar_s{}", self.storages);
        let is_static = it.r#static;
        let word = if is_static { "static " } else { "" };
        let receiver = if is_static { format!("{state}.o") } else { "this".to_owned() };
        let again = match &it.key {
            _ if it.computed => format!("[{state}.y({index})]"),
            key => self.text(key.span()).to_owned(),
        };
        let private = match &it.key {
            PropertyKey::PrivateIdentifier(id) => Some(id.name.to_string()),
            _ => None,
        };
        if is_decorated {
            applied.has_decorators = true;
            self.register(
                &it.decorators,
                index,
                "accessor",
                is_static,
                (&it.key, it.computed),
                state,
            );
        } else if it.computed {
            self.computed_key(&it.key, index, state);
        }
        let (get, set) = if is_decorated && private.is_some() {
            (
                format!("{state}.p({index}).get.call(this)"),
                format!("{state}.p({index}).set.call(this, v)"),
            )
        } else {
            (format!("{receiver}.{storage}"), format!("{receiver}.{storage} = v"))
        };
        let after_key = self.after_key(&it.key, it.computed);
        self.edits.insert_after(
            after_key,
            format!("() {{ return {get}; }} {word}set {again}(v) {{ {set}; }} {word}{storage}"),
        );
        if is_decorated {
            self.initialized(it.value.as_ref(), after_key, index, state);
            self.run_extra(it.span.end, index, is_static, state);
            if let Some(name) = private {
                let _ = write!(
                    applied.privates,
                    "{index}: [(o) => #{name} in o, (o) => o.#{name}, (o, v) => {{ o.#{name} = v; }}, \
                     function () {{ return this.{storage}; }}, function (v) {{ this.{storage} = v; }}], "
                );
            }
        }
    }

    /// Stores the name that an anonymous class gets.
    fn name_for(&mut self, value: &Expression<'_>, name: impl FnOnce() -> Option<String>) {
        if let Expression::ClassExpression(class) = value.without_parentheses()
            && class.id.is_none()
        {
            self.name = name();
        }
    }
}

/// Returns whether an element needs the class's state.
fn needs_state(element: &ClassElement<'_>) -> bool {
    match element {
        ClassElement::AccessorProperty(it) => {
            !it.decorators.is_empty() || it.r#static || it.computed
        }
        ClassElement::MethodDefinition(it) => !it.decorators.is_empty(),
        ClassElement::PropertyDefinition(it) => !it.decorators.is_empty(),
        _ => false,
    }
}

/// Returns whether a function or class would be named by the field that it is the value of.
fn is_anonymous_function(value: &Expression<'_>) -> bool {
    match value.without_parentheses() {
        Expression::ArrowFunctionExpression(_) => true,
        Expression::FunctionExpression(it) => it.id.is_none(),
        Expression::ClassExpression(it) => it.id.is_none(),
        _ => false,
    }
}

fn static_name(key: &PropertyKey<'_>, computed: bool) -> Option<String> {
    match key {
        PropertyKey::StaticIdentifier(id) => Some(id.name.to_string()),
        PropertyKey::PrivateIdentifier(id) => Some(format!("#{}", id.name)),
        PropertyKey::StringLiteral(text) if !computed => Some(text.value.to_string()),
        PropertyKey::NumericLiteral(number) if !computed => Some(number.value.to_string()),
        _ => None,
    }
}

impl<'a> Visit<'a> for Lowerer<'_, '_> {
    fn visit_class(&mut self, it: &Class<'a>) {
        let place = if it.is_declaration() { Place::Declaration } else { Place::Expression };
        self.class(it, place);
        walk::walk_class(self, it);
    }

    fn visit_statement(&mut self, it: &Statement<'a>) {
        self.name = None;
        walk::walk_statement(self, it);
    }

    fn visit_export_declaration(&mut self, it: &ExportDeclaration<'a>) {
        walk::walk_export_declaration(self, it);
    }

    fn visit_export_default_declaration(&mut self, it: &ExportDefaultDeclaration<'a>) {
        match &it.declaration {
            ExportDefaultDeclarationKind::ClassDeclaration(class) => {
                self.name = Some("default".to_owned());
                self.class(class, Place::ExportDefault { start: it.span.start });
                walk::walk_class(self, class);
            }
            declaration => {
                if let Some(Expression::ClassExpression(class)) =
                    declaration.as_expression().map(Expression::without_parentheses)
                    && class.id.is_none()
                {
                    self.name = Some("default".to_owned());
                }
                walk::walk_export_default_declaration(self, it);
            }
        }
    }

    fn visit_variable_declarator(&mut self, it: &VariableDeclarator<'a>) {
        if let (BindingPattern::BindingIdentifier(id), Some(init)) = (&it.id, &it.init) {
            self.name_for(init, || Some(id.name.to_string()));
        }
        walk::walk_variable_declarator(self, it);
    }

    fn visit_assignment_expression(&mut self, it: &AssignmentExpression<'a>) {
        self.name_for(&it.right, || it.left.get_identifier_name().map(str::to_owned));
        walk::walk_assignment_expression(self, it);
    }

    fn visit_assignment_pattern(&mut self, it: &AssignmentPattern<'a>) {
        self.name_for(&it.right, || it.left.get_identifier_name().map(|name| name.to_string()));
        walk::walk_assignment_pattern(self, it);
    }

    fn visit_object_property(&mut self, it: &ObjectProperty<'a>) {
        self.name_for(&it.value, || static_name(&it.key, it.computed));
        walk::walk_object_property(self, it);
    }

    fn visit_property_definition(&mut self, it: &PropertyDefinition<'a>) {
        if let Some(value) = &it.value {
            self.name_for(value, || static_name(&it.key, it.computed));
        }
        walk::walk_property_definition(self, it);
    }

    fn visit_accessor_property(&mut self, it: &AccessorProperty<'a>) {
        if let Some(value) = &it.value {
            self.name_for(value, || static_name(&it.key, it.computed));
        }
        walk::walk_accessor_property(self, it);
    }
}

/// Finds `await` in the parts of a class that are evaluated at its place.
#[derive(Default)]
struct AwaitFinder {
    awaits: bool,
}

impl AwaitFinder {
    fn is_in(it: &Class<'_>) -> bool {
        let mut finder = Self::default();
        for decorator in &it.decorators {
            finder.visit_decorator(decorator);
        }
        if let Some(heritage) = &it.heritage {
            finder.visit_expression(&heritage.expression);
        }
        for element in &it.body.body {
            let (decorators, key) = match element {
                ClassElement::MethodDefinition(it) => (&it.decorators, &it.key),
                ClassElement::PropertyDefinition(it) => (&it.decorators, &it.key),
                ClassElement::AccessorProperty(it) => (&it.decorators, &it.key),
                _ => continue,
            };
            for decorator in decorators {
                finder.visit_decorator(decorator);
            }
            finder.visit_property_key(key);
        }
        finder.awaits
    }
}

impl<'a> Visit<'a> for AwaitFinder {
    fn visit_await_expression(&mut self, _: &AwaitExpression<'a>) {
        self.awaits = true;
    }
    fn visit_function(&mut self, _: &Function<'a>, _: ScopeFlags) {}
    fn visit_arrow_function_expression(&mut self, _: &ArrowFunctionExpression<'a>) {}
    fn visit_class(&mut self, it: &Class<'a>) {
        self.awaits |= Self::is_in(it);
    }
}
