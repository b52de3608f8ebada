//! Decorators: those of ECMAScript, as TypeScript 5 has them by default; legacy ones where
//! tsconfig.json or their syntax says so.

use serde_json::json;

use crate::case::{case, check_all};

#[test]
fn standard_decorators_get_a_context() {
    check_all(
        "typescript",
        &[
            case(
                "a method",
                "function loud(method: any, context: ClassMethodDecoratorContext) {\n\
                   if (context.kind !== 'method') throw new Error('context is ' + typeof context);\n\
                   return function (this: any, ...args: any[]) { return method.apply(this, args) + '!'; };\n\
                 }\n\
                 class Greeter { @loud hello() { return 'hi'; } }\nnew Greeter().hello()",
            )
            .gives(json!("hi!")),
            case(
                "every kind of element, in order",
                "const seen: string[] = [];\n\
                 const d = (label: string) => { seen.push('eval ' + label); return (value: any, c: any) => { seen.push(`${c.kind} ${String(c.name)} ${c.static} ${c.private} ${typeof value}`); }; };\n\
                 @d('class') class A {\n\
                   @d('field') f = 1;\n  @d('method') m() {}\n  @d('getter') get g() { return 1; }\n  @d('setter') set s(v: number) {}\n\
                   @d('accessor') accessor a = 2;\n  @d('static') static t() {}\n  @d('private') #p() {}\n  @d('private field') #q = 1;\n\
                   @d('static field') static u = 3;\n  @d('computed') ['c' + 1]() {}\n}\n({ seen, static: A.u })",
            )
            .gives(json!({"seen": [
                "eval class", "eval field", "eval method", "eval getter", "eval setter", "eval accessor", "eval static", "eval private",
                "eval private field", "eval static field", "eval computed",
                "method t true false function",
                "method m false false function", "getter g false false function", "setter s false false function", "accessor a false false object",
                "method #p false true function", "method c1 false false function",
                "field u true false undefined",
                "field f false false undefined", "field #q false true undefined",
                "class A undefined undefined function"
            ], "static": 3})),
            case(
                "fields: initial values and what is added",
                "const log: string[] = [];\n\
                 const twice = (_: any, c: any) => { c.addInitializer(function (this: any) { log.push(`${c.name}=${this[c.name]}`); }); return (v: number) => v * 2; };\n\
                 const plus = (_: any, c: any) => (v: number) => v + 1;\n\
                 class A { @twice a = 1; @plus @twice b = this.a; @twice c: any; @plus static s = 10; }\n\
                 const a = new A();\n({ a: a.a, b: a.b, c: String(a.c), s: A.s, log })",
            )
            .gives(json!({"a": 2, "b": 6, "c": "NaN", "s": 11, "log": ["a=2", "b=6", "c=NaN"]})),
            case(
                "accessors",
                "const log: any[] = [];\n\
                 function watched(target: any, c: any) { return { get() { return target.get.call(this) * 10; }, set(v: any) { log.push(v); target.set.call(this, v); }, init(v: any) { return v + 1; } }; }\n\
                 class A { @watched accessor n = 1; @watched static accessor s = 2; @watched accessor #p = 3; plain = 0; accessor undecorated = 5; p() { return this.#p; } }\n\
                 const a = new A(); a.n = 7; A.s = 8; a.undecorated++;\n\
                 ({ n: a.n, s: A.s, p: a.p(), u: a.undecorated, log, own: Object.keys(a), on: 'n' in A.prototype })",
            )
            .gives(json!({"n": 70, "s": 80, "p": 40, "u": 6, "log": [7, 8], "own": ["plain"], "on": true})),
            case(
                "classes: another class, and what is added",
                "const log: string[] = [];\n\
                 const named = (label: string) => (C: any, c: any) => { c.addInitializer(function (this: any) { log.push(this.label); }); return class extends C { static label = label; }; };\n\
                 @named('outer') @named('inner') class A { static made() { return new A(); } }\n\
                 ({ label: (A as any).label, made: (A.made().constructor as any).label, log })",
            )
            .gives(json!({"label": "outer", "made": "outer", "log": ["outer", "outer"]})),
            case(
                "methods that are bound to an instance",
                "function bound(_: any, c: any) { c.addInitializer(function (this: any) { this[c.name] = this[c.name].bind(this); }); }\n\
                 class A { x = 5; @bound get5() { return this.x; } @bound static s() { return this === A; } }\n\
                 const { get5 } = new A(); const { s } = A;\n[get5(), s()]",
            )
            .gives(json!([5, true])),
            case(
                "private elements",
                "const twice = (f: any, c: any) => function (this: any, ...a: any[]) { return f.apply(this, a) * 2; };\n\
                 class A { #n = 1; @twice #m() { return this.#n; } @twice get #g() { return 10; } @twice static #s() { return 100; } all() { return [this.#m(), this.#g, A.#s()]; } }\n\
                 new A().all()",
            )
            .gives(json!([2, 20, 200])),
            case(
                "access",
                "let has: any, get: any, set: any;\n\
                 const grab = (_: any, c: any) => { ({ has, get, set } = c.access); };\n\
                 class A { @grab #secret = 1; }\nconst a = new A(); set(a, 41);\n[has(a), has({}), get(a)]",
            )
            .gives(json!([true, false, 41])),
            case(
                "metadata",
                "const mark = (v: any) => (_: any, c: any) => { (c.metadata.marks ??= []).push([c.name, v]); };\n\
                 class A { @mark(1) a = 1; @mark(2) m() {} }\nclass B extends A { @mark(3) b = 2; }\n\
                 const of = (C: any) => C[(Symbol as any).metadata];\n({ a: of(A).marks, same: of(B).marks === of(A).marks, parent: Object.getPrototypeOf(of(B)) === of(A) })",
            )
            .gives(json!({"a": [["m", 2], ["a", 1], ["b", 3]], "same": true, "parent": true})),
            case(
                "names, and the object of a decorator",
                "const tools = { n: 3, tag(this: any, _: any, c: any) { return (v: any) => [v.name, this.n]; } };\n\
                 class A { @tools.tag f = () => 1; @(tools['tag']) g = function () {}; }\nconst B = class { @tools.tag h = class {}; };\n\
                 const a = new A();\n[a.f, a.g, new B().h, B.name]",
            )
            .gives(json!([["f", 3], ["g", 3], ["h", 3], "B"])),
            case(
                "a decorator that gives no function",
                "const bad = (): any => 5;\nclass A { @bad m() {} }",
            )
            .fails("TypeError", &["Function expected", "main.ts:2"]),
            case(
                "initializers that come too late",
                "let late: any;\nconst keep = (_: any, c: any) => { late = c.addInitializer; };\nclass A { @keep m() {} }\nlate(() => {});",
            )
            .fails("TypeError", &["Cannot add initializers", "main.ts:4"]),
            case(
                "await in a decorator",
                "const d = (n: number) => (_: any, c: any) => (v: number) => v + n;\nclass A { @d(await Promise.resolve(4)) x = 1; }\nexport default new A().x;",
            )
            .gives(json!(5)),
            case(
                "exports",
                "import A, { B } from './lib';\nexport default [new A().x, new B().x, A.name, B.name];",
            )
            .file("lib.ts", "const d = (_: any, c: any) => (v: number) => v * 2;\nconst k = (C: any, c: any) => {};\n@k export default class A { @d x = 1; }\n@k export class B { @d x = 2; }\nexport const later = () => [A, B];")
            .gives(json!([2, 4, "A", "B"])),
            case("accessors alone", "class A { accessor n = 1; static accessor s = 2; accessor ['c'] = 3; accessor #p = 4; get p() { return this.#p; } }\nconst a = new A(); a.n += 1; A.s += 1;\n[a.n, A.s, a.c, a.p]")
                .gives(json!([2, 3, 3, 4])),
        ],
    );
    check_all(
        "javascript",
        &[
            case("JavaScript too", "const twice = (f, c) => function (...a) { return f.apply(this, a) * 2; };\nclass A { @twice m() { return 21; } accessor n = 1 }\nmodule.exports = new A().m() + new A().n;")
                .gives(json!(43)),
            case("in an imported file", "import { A } from './a.js';\nexport default new A().m();")
                .file("a.js", "const twice = (f, c) => function (...a) { return f.apply(this, a) * 2; };\nexport class A { @twice m() { return 4; } }")
                .gives(json!(8)),
        ],
    );
}

#[test]
fn legacy_decorators_where_the_settings_say_so() {
    const LEGACY: &str = r#"{"compilerOptions": {"experimentalDecorators": true}}"#;
    const METADATA: &str = r#"{"compilerOptions": {"experimentalDecorators": true, "emitDecoratorMetadata": true, "target": "ES2022"}}"#;
    const REFLECT: &str = "const types: any = {};\n(Reflect as any).metadata = (k: string, v: any) => (t: any, p: string) => { types[`${p} ${k}`] = Array.isArray(v) ? v.map((x) => x.name) : v?.name; };\n";
    check_all(
        "typescript",
        &[
            case("a method", "function d(target: any, key: string, descriptor: PropertyDescriptor) { descriptor.value = () => key + 1; }\nclass A { @d m(): any {} }\nnew A().m()")
                .file("tsconfig.json", LEGACY)
                .gives(json!("m1")),
            case("a class", "function d(C: any): any { return class extends C { x = 2; }; }\n@d class A { x = 1; }\nnew A().x")
                .file("tsconfig.json", LEGACY)
                .gives(json!(2)),
            case("an imported file", "import { A } from './a';\nexport default new A().m();")
                .file("tsconfig.json", LEGACY)
                .file("a.ts", "function d(target: any, key: string, it: any) { it.value = () => key; }\nexport class A { @d m() {} }")
                .gives(json!("m")),
            case("types of properties, parameters and results", Box::leak(format!("{REFLECT}class B {{}}\nconst d: any = () => {{}};\nclass A {{ @d s: string; @d n: number; @d b: B; @d m(a: string, b: boolean): Date {{ return new Date(); }} }}\ntypes").into_boxed_str()))
                .file("tsconfig.json", METADATA)
                .gives(json!({
                    "s design:type": "String", "n design:type": "Number", "b design:type": "B",
                    "m design:type": "Function", "m design:paramtypes": ["String", "Boolean"], "m design:returntype": "Date"
                })),
            case("decorators of parameters need no settings", "const seen: any[] = [];\nconst p = (t: any, k: any, i: number) => { seen.push([k ?? null, i]); };\nclass A { constructor(@p a: any) {} m(x: any, @p y: any) {} }\nseen")
                .gives(json!([["m", 1], [null, 0]])),
        ],
    );
}
