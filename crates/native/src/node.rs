//! The face towards Node: a Node-API module, and how a Node forks.

use std::ffi::{CStr, CString, c_char, c_void};
use std::io;
use std::os::fd::IntoRawFd;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

use belljar_jail::{SetupError, Step};

use crate::node_platform::{Uv, keep_heap_across_fork, report_no_workers};
use crate::symbols::table;
use crate::zygote::Runtime;
use crate::{heap, randomness, sandbox, scratch, threads, zygote};

type Env = *mut c_void;
type Value = *mut c_void;
type CallbackInfo = *mut c_void;
type Callback = unsafe extern "C" fn(Env, CallbackInfo) -> Value;

table! {
    /// The parts of Node-API that are used (nodejs.org, "Node-API"; all of version 8 or older).
    struct NodeApi {
        napi_create_function: fn(Env, *const c_char, usize, Callback, *mut c_void, *mut Value) -> i32,
        napi_set_named_property: fn(Env, Value, *const c_char, Value) -> i32,
        napi_get_cb_info: fn(Env, CallbackInfo, *mut usize, *mut Value, *mut Value, *mut *mut c_void) -> i32,
        napi_get_value_string_utf8: fn(Env, Value, *mut c_char, usize, *mut usize) -> i32,
        napi_get_value_uint32: fn(Env, Value, *mut u32) -> i32,
        napi_get_value_bool: fn(Env, Value, *mut bool) -> i32,
        napi_create_double: fn(Env, f64, *mut Value) -> i32,
        napi_create_uint32: fn(Env, u32, *mut Value) -> i32,
        napi_create_string_utf8: fn(Env, *const c_char, usize, *mut Value) -> i32,
        napi_create_object: fn(Env, *mut Value) -> i32,
        napi_create_array_with_length: fn(Env, usize, *mut Value) -> i32,
        napi_set_element: fn(Env, Value, u32, Value) -> i32,
        napi_get_boolean: fn(Env, bool, *mut Value) -> i32,
        napi_get_undefined: fn(Env, *mut Value) -> i32,
        napi_get_typedarray_info: fn(Env, Value, *mut i32, *mut usize, *mut *mut c_void, *mut Value, *mut usize) -> i32,
        napi_throw_error: fn(Env, *const c_char, *const c_char) -> i32,
        napi_get_uv_event_loop: fn(Env, *mut *mut c_void) -> i32,
        napi_create_reference: fn(Env, Value, u32, *mut *mut c_void) -> i32,
        napi_get_reference_value: fn(Env, *mut c_void, *mut Value) -> i32,
        napi_open_handle_scope: fn(Env, *mut *mut c_void) -> i32,
        napi_close_handle_scope: fn(Env, *mut c_void) -> i32,
        napi_make_callback: fn(Env, *mut c_void, Value, Value, usize, *const Value, *mut Value) -> i32,
        napi_call_function: fn(Env, Value, Value, usize, *const Value, *mut Value) -> i32,
        napi_get_and_clear_last_exception: fn(Env, *mut Value) -> i32,
        napi_fatal_exception: fn(Env, Value) -> i32,
        napi_throw: fn(Env, Value) -> i32,
        napi_typeof: fn(Env, Value, *mut i32) -> i32,
        napi_delete_reference: fn(Env, *mut c_void) -> i32,
    }
}

/// `napi_function` of `napi_valuetype`.
const NAPI_FUNCTION: i32 = 7;

/// `node::async_context`.
#[repr(C)]
#[derive(Clone, Copy)]
struct AsyncContext {
    async_id: f64,
    trigger_async_id: f64,
}

/// What Node calls a program's main file in: its asynchronous id is 1.
const OF_MAIN: AsyncContext = AsyncContext { async_id: 1.0, trigger_async_id: 0.0 };

table! {
    /// What surrounds a call from the loop, with an asynchronous context of the caller's choice: Node-API takes none but its own. C++, the same in 22 to
    /// 26; a `Local` is passed as a pointer.
    struct CallbackScopes {
        _ZN2v87Isolate10GetCurrentEv: fn() -> *mut c_void,
        _ZN4node13CallbackScopeC1EPN2v87IsolateENS1_5LocalINS1_6ObjectEEENS_13async_contextE: fn(*mut c_void, *mut c_void, Value, AsyncContext),
        _ZN4node13CallbackScopeD1Ev: fn(*mut c_void),
    }
}

/// Room on the stack for a `node::CallbackScope`, which has some 60 bytes.
#[repr(C, align(16))]
struct CallbackScopeRoom([u8; 256]);

table! {
    /// How Node itself waits for V8's tasks on worker threads, such as the compilation of WebAssembly, once libuv's loop is empty. C++, the same in
    /// 22 to 26; a `Local` is passed as a pointer.
    struct WorkerTasks {
        _ZN2v87Isolate10GetCurrentEv: fn() -> *mut c_void,
        _ZN2v87Isolate17GetCurrentContextEv: fn(*mut c_void) -> *mut c_void,
        _ZN4node21GetCurrentEnvironmentEN2v85LocalINS0_7ContextEEE: fn(*mut c_void) -> *mut c_void,
        _ZN4node23GetMultiIsolatePlatformEPNS_11EnvironmentE: fn(*mut c_void) -> *mut c_void,
        _ZN4node12NodePlatform10DrainTasksEPN2v87IsolateE: fn(*mut c_void, *mut c_void),
    }
}

struct Bound {
    api: NodeApi,
    uv: Uv,
    tasks: Option<WorkerTasks>,
    scopes: Option<CallbackScopes>,
}

static BOUND: OnceLock<Option<Bound>> = OnceLock::new();

fn bound() -> Option<&'static Bound> {
    let load = || Some(Bound { api: NodeApi::load()?, uv: Uv::load()?, tasks: WorkerTasks::load(), scopes: CallbackScopes::load() });
    BOUND.get_or_init(load).as_ref()
}

/// A call from JavaScript: its environment and arguments.
struct Call {
    node: &'static Bound,
    env: Env,
    arguments: [Value; 4],
}

impl Call {
    fn text(&self, index: usize) -> Option<String> {
        let mut length = 0;
        // SAFETY: with a null buffer only the length is asked for.
        let status =
            unsafe { (self.node.api.napi_get_value_string_utf8)(self.env, self.arguments[index], ptr::null_mut(), 0, &raw mut length) };
        if status != 0 {
            return None;
        }
        let mut buffer = vec![0_u8; length + 1];
        // SAFETY: the buffer has room for the text and its final NUL.
        unsafe {
            (self.node.api.napi_get_value_string_utf8)(
                self.env,
                self.arguments[index],
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                &raw mut length,
            )
        };
        buffer.truncate(length);
        String::from_utf8(buffer).ok()
    }

    /// A string's UTF-8, or the bytes of a typed array.
    fn bytes(&self, index: usize) -> Option<Vec<u8>> {
        if let Some(text) = self.text(index) {
            return Some(text.into_bytes());
        }
        let (mut kind, mut length, mut data) = (0, 0, ptr::null_mut());
        let (mut buffer, mut offset) = (ptr::null_mut(), 0);
        // SAFETY: all results are writable.
        let status = unsafe {
            (self.node.api.napi_get_typedarray_info)(
                self.env,
                self.arguments[index],
                &raw mut kind,
                &raw mut length,
                &raw mut data,
                &raw mut buffer,
                &raw mut offset,
            )
        };
        // Kinds 0 to 2 are the arrays of single bytes.
        if status != 0 || !(0..=2).contains(&kind) || data.is_null() {
            return (status == 0 && length == 0).then(Vec::new);
        }
        // SAFETY: Node says that so many bytes are there; JavaScript does not run while they are copied.
        Some(unsafe { std::slice::from_raw_parts(data.cast::<u8>(), length) }.to_vec())
    }

    fn number(&self, index: usize) -> u32 {
        let mut number = 0;
        // SAFETY: the result is writable; anything but a number leaves it.
        unsafe { (self.node.api.napi_get_value_uint32)(self.env, self.arguments[index], &raw mut number) };
        number
    }

    fn truth(&self, index: usize) -> bool {
        let mut truth = false;
        // SAFETY: the result is writable; anything but a boolean leaves it.
        unsafe { (self.node.api.napi_get_value_bool)(self.env, self.arguments[index], &raw mut truth) };
        truth
    }

    fn unsigned(&self, number: u32) -> Value {
        let mut value = ptr::null_mut();
        // SAFETY: the result is writable.
        unsafe { (self.node.api.napi_create_uint32)(self.env, number, &raw mut value) };
        value
    }

    fn double(&self, number: f64) -> Value {
        let mut value = ptr::null_mut();
        // SAFETY: the result is writable.
        unsafe { (self.node.api.napi_create_double)(self.env, number, &raw mut value) };
        value
    }

    fn string(&self, text: &[u8]) -> Value {
        let mut value = ptr::null_mut();
        // SAFETY: the text is readable for its length.
        unsafe { (self.node.api.napi_create_string_utf8)(self.env, text.as_ptr().cast(), text.len(), &raw mut value) };
        value
    }

    fn boolean(&self, truth: bool) -> Value {
        let mut value = ptr::null_mut();
        // SAFETY: the result is writable.
        unsafe { (self.node.api.napi_get_boolean)(self.env, truth, &raw mut value) };
        value
    }

    fn undefined(&self) -> Value {
        let mut value = ptr::null_mut();
        // SAFETY: the result is writable.
        unsafe { (self.node.api.napi_get_undefined)(self.env, &raw mut value) };
        value
    }

    fn set(&self, object: Value, name: &CStr, value: Value) {
        // SAFETY: handles of this call and a NUL-terminated name.
        unsafe { (self.node.api.napi_set_named_property)(self.env, object, name.as_ptr(), value) };
    }

    fn object(&self) -> Value {
        let mut object = ptr::null_mut();
        // SAFETY: the result is writable.
        unsafe { (self.node.api.napi_create_object)(self.env, &raw mut object) };
        object
    }

    fn array(&self, values: impl ExactSizeIterator<Item = Value>) -> Value {
        let mut array = ptr::null_mut();
        // SAFETY: the result is writable.
        unsafe { (self.node.api.napi_create_array_with_length)(self.env, values.len(), &raw mut array) };
        for (index, value) in (0..).zip(values) {
            // SAFETY: handles of this call.
            unsafe { (self.node.api.napi_set_element)(self.env, array, index, value) };
        }
        array
    }

    fn is_function(&self, value: Value) -> bool {
        let mut kind = 0;
        // SAFETY: the result is writable, and a missing value is none.
        !value.is_null() && unsafe { (self.node.api.napi_typeof)(self.env, value, &raw mut kind) } == 0 && kind == NAPI_FUNCTION
    }

    /// A reference to an argument, which lives until it is deleted.
    fn reference(&self, index: usize) -> *mut c_void {
        let mut reference = ptr::null_mut();
        // SAFETY: the result is writable.
        unsafe { (self.node.api.napi_create_reference)(self.env, self.arguments[index], 1, &raw mut reference) };
        reference
    }

    /// Calls a function; gives what it threw, and that it did, or what it returned.
    fn invoke(&self, receiver: Value, function: Value, arguments: &[Value]) -> (bool, Value) {
        let (api, mut value) = (&self.node.api, ptr::null_mut());
        // SAFETY: handles of this call; the result is writable.
        unsafe {
            if (api.napi_call_function)(self.env, receiver, function, arguments.len(), arguments.as_ptr(), &raw mut value) == 0 {
                return (false, value);
            }
            (api.napi_get_and_clear_last_exception)(self.env, &raw mut value);
        }
        (true, value)
    }

    fn throw(&self, message: &str) -> Value {
        let message = CString::new(message.replace('\0', " ")).unwrap_or_default();
        // SAFETY: a NUL-terminated message; no code.
        unsafe { (self.node.api.napi_throw_error)(self.env, ptr::null(), message.as_ptr()) };
        ptr::null_mut()
    }

    fn result(&self, result: io::Result<()>) -> Value {
        match result {
            Ok(()) => self.undefined(),
            Err(error) => self.throw(&error.to_string()),
        }
    }
}

/// Gives a callback its arguments. JavaScript may pass fewer or more.
unsafe fn call(env: Env, info: CallbackInfo, body: impl FnOnce(&Call) -> Value) -> Value {
    let Some(node) = bound() else { return ptr::null_mut() };
    let mut arguments = [ptr::null_mut(); 4];
    let mut count = arguments.len();
    // SAFETY: room for four arguments; missing ones become `undefined`.
    unsafe { (node.api.napi_get_cb_info)(env, info, &raw mut count, arguments.as_mut_ptr(), ptr::null_mut(), ptr::null_mut()) };
    body(&Call { node, env, arguments })
}

/// Whether this process was forked from a zygote: it has no worker threads then.
static FORKED: AtomicBool = AtomicBool::new(false);

/// The main loop, once a main thread has asked for the start.
static LOOP: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());

struct Node<'a> {
    call: &'a Call,
    event_loop: *mut c_void,
}

impl Runtime for Node<'_> {
    fn prepare(&mut self) -> Result<(), SetupError> {
        report_no_workers()?;
        keep_heap_across_fork()
    }

    fn after_fork_in_child(&mut self) -> Result<(), SetupError> {
        // SAFETY: the loop is the main thread's, which this is; its descriptors are replaced by ones that can be closed.
        let status = unsafe { (self.call.node.uv.uv_loop_fork)(self.event_loop) };
        FORKED.store(true, Ordering::Relaxed);
        if status == 0 { Ok(()) } else { Err(SetupError { step: Step::RuntimeFork, errno: -status }) }
    }
}

unsafe extern "C" fn start(env: Env, info: CallbackInfo) -> Value {
    // SAFETY: Node's own call.
    unsafe {
        call(env, info, |call| {
            let mut event_loop = ptr::null_mut();
            // SAFETY: the result is writable.
            let status = (call.node.api.napi_get_uv_event_loop)(call.env, &raw mut event_loop);
            if status != 0 || !LOOP.swap(event_loop, Ordering::Relaxed).is_null() {
                return call.throw("start() works once, in the main thread");
            }
            let role = zygote::start(&mut Node { call, event_loop }, &call.bytes(0).unwrap_or_default());
            call.boolean(role == zygote::Role::Scout)
        })
    }
}

unsafe extern "C" fn begin_imports(env: Env, info: CallbackInfo) -> Value {
    // SAFETY: Node's own call.
    unsafe {
        call(env, info, |call| {
            scratch::make();
            threads::watch();
            call.undefined()
        })
    }
}

unsafe extern "C" fn never_fork(env: Env, info: CallbackInfo) -> Value {
    // SAFETY: Node's own call.
    unsafe {
        call(env, info, |call| {
            zygote::never_fork(call.text(0).unwrap_or_default());
            call.undefined()
        })
    }
}

unsafe extern "C" fn receive(env: Env, info: CallbackInfo) -> Value {
    // SAFETY: Node's own call.
    unsafe {
        call(env, info, |call| match sandbox::receive() {
            Ok(activation) => call.string(&activation),
            Err(error) => sandbox::fault_text(&error.to_string()),
        })
    }
}

unsafe extern "C" fn send(env: Env, info: CallbackInfo) -> Value {
    // SAFETY: Node's own call.
    unsafe {
        call(env, info, |call| match call.bytes(1) {
            Some(payload) => call.result(sandbox::send(call.number(0) as u8, &payload)),
            None => call.throw("send() takes a string or bytes"),
        })
    }
}

unsafe extern "C" fn open_call(env: Env, info: CallbackInfo) -> Value {
    // SAFETY: Node's own call.
    unsafe {
        call(env, info, |call| match sandbox::open_call() {
            Ok(Some(socket)) => call.unsigned(socket.into_raw_fd() as u32),
            Ok(None) => call.undefined(),
            Err(error) => call.throw(&error.to_string()),
        })
    }
}

unsafe extern "C" fn annotate(env: Env, info: CallbackInfo) -> Value {
    // SAFETY: Node's own call.
    unsafe {
        call(env, info, |call| call.result(sandbox::annotate(call.number(0) as u8, call.number(1) as u8, call.number(2), call.truth(3))))
    }
}

unsafe extern "C" fn pid(env: Env, info: CallbackInfo) -> Value {
    // SAFETY: Node's own call; `getpid` cannot fail.
    unsafe { call(env, info, |call| call.unsigned(libc::getpid() as u32)) }
}

unsafe extern "C" fn parent_pid(env: Env, info: CallbackInfo) -> Value {
    // SAFETY: Node's own call; `getppid` cannot fail.
    unsafe { call(env, info, |call| call.unsigned(libc::getppid() as u32)) }
}

/// V8 takes a seed of 0 for "from the system", which in a fork is the zygote's generator.
unsafe extern "C" fn random_seed(env: Env, info: CallbackInfo) -> Value {
    // SAFETY: Node's own call.
    unsafe {
        call(env, info, |call| match randomness::number() {
            Ok(number) => call.unsigned((number & 0x7fff_ffff).max(1)),
            Err(error) => call.throw(&error.to_string()),
        })
    }
}

unsafe extern "C" fn fit_heap(env: Env, info: CallbackInfo) -> Value {
    // SAFETY: Node's own call.
    unsafe {
        call(env, info, |call| {
            heap::fit();
            call.undefined()
        })
    }
}

/// In place of Node's own, which looks for control groups, and these are not shown to a sandbox.
unsafe extern "C" fn constrained_memory(env: Env, info: CallbackInfo) -> Value {
    // SAFETY: Node's own call.
    #[expect(clippy::cast_precision_loss, reason = "exact up to 8 PiB")]
    unsafe {
        call(env, info, |call| call.double(heap::limit_bytes() as f64))
    }
}

unsafe extern "C" fn exit(env: Env, info: CallbackInfo) -> Value {
    // SAFETY: Node's own call.
    unsafe { call(env, info, |call| sandbox::exit(call.number(0) as i32)) }
}

/// A source, its file's name and its language, as the first arguments.
fn source_argument(call: &Call) -> Option<(String, String, belljar_syntax::Language)> {
    let is_typescript = call.text(2)? == "typescript";
    let language = if is_typescript { belljar_syntax::Language::TypeScript } else { belljar_syntax::Language::JavaScript };
    Some((call.text(0)?, call.text(1)?, language))
}

/// Options of a preparation, as the fourth argument; none where there is no such.
fn options_argument(call: &Call) -> belljar_syntax::Options {
    call.text(3).map_or_else(belljar_syntax::Options::default, |text| belljar_syntax::Options::parse(&text))
}

unsafe extern "C" fn prepare(env: Env, info: CallbackInfo) -> Value {
    // SAFETY: Node's own call.
    unsafe {
        call(env, info, |call| {
            let Some((source, name, language)) = source_argument(call) else {
                return call.throw("prepare() takes source, file name and language");
            };
            let prepared = belljar_syntax::prepare_with(&source, &name, language, &options_argument(call));
            let object = call.object();
            let kind = if prepared.kind == belljar_syntax::ModuleKind::Module { "module" } else { "commonjs" };
            call.set(object, c"kind", call.string(kind.as_bytes()));
            call.set(object, c"code", call.string(prepared.code.as_bytes()));
            if let Some(map) = &prepared.map {
                call.set(object, c"map", call.string(map.as_bytes()));
            }
            call.set(object, c"isAsync", call.boolean(prepared.is_async));
            call.set(object, c"hasMain", call.boolean(prepared.has_main));
            call.set(object, c"needsCommonjs", call.boolean(prepared.needs_commonjs));
            if !prepared.uses.is_empty() {
                call.set(object, c"uses", call.string(prepared.uses_json().as_bytes()));
            }
            call.set(object, c"startsMain", call.boolean(prepared.starts_main));
            call.set(object, c"startsExported", call.boolean(prepared.starts_exported));
            call.set(object, c"isFunction", call.boolean(prepared.is_function));
            if let Some(error) = &prepared.error {
                call.set(object, c"error", call.string(error.to_string().as_bytes()));
            }
            object
        })
    }
}

unsafe extern "C" fn find_imports(env: Env, info: CallbackInfo) -> Value {
    // SAFETY: Node's own call.
    unsafe {
        call(env, info, |call| {
            let Some((source, name, language)) = source_argument(call) else {
                return call.throw("findImports() takes source, file name and language");
            };
            let found = belljar_syntax::find_imports_with(&source, &name, language, &options_argument(call));
            let Ok(found) = found else { return call.undefined() };
            let imports = found.imports.iter().map(|import| {
                let object = call.object();
                call.set(object, c"name", call.string(import.name.as_bytes()));
                call.set(object, c"isOptional", call.boolean(import.is_optional));
                object
            });
            let object = call.object();
            call.set(object, c"imports", call.array(imports));
            call.set(object, c"additions", call.array(found.additions.iter().map(|addition| call.string(addition.as_bytes()))));
            object
        })
    }
}

unsafe extern "C" fn find_mistake(env: Env, info: CallbackInfo) -> Value {
    // SAFETY: Node's own call.
    unsafe {
        call(env, info, |call| {
            let Some((source, name, language)) = source_argument(call) else {
                return call.throw("findMistake() takes source, file name and language");
            };
            let Some(mistake) = belljar_syntax::find_mistake(&source, &name, language) else { return call.undefined() };
            let object = call.object();
            call.set(object, c"message", call.string(mistake.message.as_bytes()));
            call.set(object, c"line", call.unsigned(mistake.line));
            call.set(object, c"column", call.unsigned(mistake.column));
            if let Some(language) = mistake.language {
                call.set(object, c"language", call.string(language.as_bytes()));
            }
            object
        })
    }
}

/// What keeps the loop turning, and looks at it before each turn. They live for ever.
struct Idle {
    env: Env,
    timer: *mut c_void,
    callback: *mut c_void,
    isolate: *mut c_void,
    /// Null where there are no worker threads, in a fork.
    platform: *mut c_void,
}

static IDLE: AtomicPtr<Idle> = AtomicPtr::new(ptr::null_mut());

/// Kinds of handles in `uv.h`, unchanged since libuv 1.0.
const UV_PREPARE: i32 = 9;
const UV_TIMER: i32 = 13;

/// The isolate of this thread and the platform that runs its tasks; null where they cannot be had.
fn platform(node: &Bound) -> (*mut c_void, *mut c_void) {
    let absent = (ptr::null_mut(), ptr::null_mut());
    let Some(tasks) = &node.tasks else { return absent };
    // SAFETY: called from JavaScript, so that there are an isolate, a context and a scope for its handle; each is checked.
    unsafe {
        let isolate = (tasks._ZN2v87Isolate10GetCurrentEv)();
        let context = if isolate.is_null() { isolate } else { (tasks._ZN2v87Isolate17GetCurrentContextEv)(isolate) };
        if context.is_null() {
            return absent;
        }
        let environment = (tasks._ZN4node21GetCurrentEnvironmentEN2v85LocalINS0_7ContextEEE)(context);
        if environment.is_null() {
            return absent;
        }
        (isolate, (tasks._ZN4node23GetMultiIsolatePlatformEPNS_11EnvironmentE)(environment))
    }
}

fn anything_else_alive(node: &Bound) -> bool {
    let (event_loop, idle) = (LOOP.load(Ordering::Relaxed), IDLE.load(Ordering::Relaxed));
    if event_loop.is_null() || idle.is_null() {
        return true;
    }
    // SAFETY: loop and timer live for ever, and this is their thread.
    unsafe {
        (node.uv.uv_unref)((*idle).timer);
        let alive = (node.uv.uv_loop_alive)(event_loop);
        (node.uv.uv_ref)((*idle).timer);
        alive != 0
    }
}

unsafe extern "C" fn never(_timer: *mut c_void) {}

unsafe extern "C" fn look_at_loop(_prepare: *mut c_void) {
    let Some(node) = bound() else { return };
    // What has run may have left nothing behind that would turn the loop again, but something more to run.
    loop {
        let later = LATER.swap(ptr::null_mut(), Ordering::Relaxed);
        if !later.is_null() {
            // SAFETY: boxed by `run_from_loop`, and taken out of its place by this thread alone.
            unsafe { Box::from_raw(later) }.run(node);
        } else if !call_if_idle(node) || LATER.load(Ordering::Relaxed).is_null() {
            return;
        }
    }
}

/// Calls the driver where nothing keeps the loop alive; gives whether it did.
fn call_if_idle(node: &Bound) -> bool {
    let idle = IDLE.load(Ordering::Relaxed);
    if idle.is_null() || anything_else_alive(node) {
        return false;
    }
    // SAFETY: both live for ever, and this is their thread.
    let (isolate, platform) = unsafe { ((*idle).isolate, (*idle).platform) };
    if let Some(tasks) = node.tasks.as_ref().filter(|_| !platform.is_null()) {
        // SAFETY: as above; this is what Node calls here.
        unsafe { (tasks._ZN4node12NodePlatform10DrainTasksEPN2v87IsolateE)(platform, isolate) };
        if !LATER.load(Ordering::Relaxed).is_null() {
            return true;
        }
        if anything_else_alive(node) {
            return false;
        }
    }
    let api = &node.api;
    // SAFETY: the reference lives for ever, this is the loop's thread, and a handle scope surrounds the call.
    unsafe {
        let (env, mut scope) = ((*idle).env, ptr::null_mut());
        (api.napi_open_handle_scope)(env, &raw mut scope);
        let mut callback = ptr::null_mut();
        (api.napi_get_reference_value)(env, (*idle).callback, &raw mut callback);
        call_steps(node, env, None, callback, None);
        (api.napi_close_handle_scope)(env, scope);
    }
    true
}

/// Something of the program's to be called from the loop.
struct Later {
    env: Env,
    first: *mut c_void,
    next: *mut c_void,
}

static LATER: AtomicPtr<Later> = AtomicPtr::new(ptr::null_mut());

impl Later {
    fn run(self, node: &Bound) {
        let api = &node.api;
        // SAFETY: the references are this one's own, this is the loop's thread, and a handle scope surrounds the calls.
        unsafe {
            let (mut scope, mut first, mut next) = (ptr::null_mut(), ptr::null_mut(), ptr::null_mut());
            (api.napi_open_handle_scope)(self.env, &raw mut scope);
            (api.napi_get_reference_value)(self.env, self.first, &raw mut first);
            (api.napi_get_reference_value)(self.env, self.next, &raw mut next);
            (api.napi_delete_reference)(self.env, self.first);
            (api.napi_delete_reference)(self.env, self.next);
            call_steps(node, self.env, Some(first), next, Some(OF_MAIN));
            (api.napi_close_handle_scope)(self.env, scope);
        }
    }
}

/// Calls functions of the program's from the loop, as Node would: with no frame of the driver's beneath them. Then runs what they have queued.
///
/// # Safety
/// On the loop's thread, within a handle scope that has the functions.
unsafe fn call_steps(node: &Bound, env: Env, first: Option<Value>, next: Value, context: Option<AsyncContext>) {
    let api = &node.api;
    // SAFETY: as above; results are writable, and the scope's room is larger than a scope.
    unsafe {
        let mut stepper = ptr::null_mut();
        (api.napi_create_function)(env, ptr::null(), 0, steps, ptr::null_mut(), &raw mut stepper);
        let arguments = [next, first.unwrap_or(ptr::null_mut())];
        let count = if first.is_some() { 2 } else { 1 };
        let Some((scopes, context)) = node.scopes.as_ref().zip(context) else {
            // With itself as receiver: Node's domains look for a `domain` of the receiver, and a global of that name is the program's.
            (api.napi_make_callback)(env, ptr::null_mut(), stepper, stepper, count, arguments.as_ptr(), ptr::null_mut());
            return;
        };
        let mut room = CallbackScopeRoom([0; 256]);
        let scope = (&raw mut room).cast::<c_void>();
        let isolate = (scopes._ZN2v87Isolate10GetCurrentEv)();
        (scopes._ZN4node13CallbackScopeC1EPN2v87IsolateENS1_5LocalINS1_6ObjectEEENS_13async_contextE)(scope, isolate, stepper, context);
        (api.napi_call_function)(env, stepper, stepper, count, arguments.as_ptr(), ptr::null_mut());
        (scopes._ZN4node13CallbackScopeD1Ev)(scope);
    }
}

/// Takes `(next, first?)`: calls `first`, then `next(threw, value)` with what became of that, which may return one more function to call, and so on.
/// A native function has no frame in a stack of JavaScript, and what it calls has none of the driver beneath it.
unsafe extern "C" fn steps(env: Env, info: CallbackInfo) -> Value {
    // SAFETY: Node's own call; results are writable.
    unsafe {
        call(env, info, |call| {
            let (api, [next, first, ..]) = (&call.node.api, call.arguments);
            let mut step = call.is_function(first).then_some(first);
            loop {
                let (mut threw, mut value) = (false, call.undefined());
                if let Some(step) = step {
                    (threw, value) = call.invoke(call.undefined(), step, &[]);
                }
                let (failed, wanted) = call.invoke(call.undefined(), next, &[call.boolean(threw), value]);
                if failed {
                    (api.napi_fatal_exception)(env, wanted);
                    return call.undefined();
                }
                if !call.is_function(wanted) {
                    return call.undefined();
                }
                step = Some(wanted);
            }
        })
    }
}

/// `runFromLoop(first, next)`: has the loop call `first` before its next turn, and `next` as [`steps`] does.
unsafe extern "C" fn run_from_loop(env: Env, info: CallbackInfo) -> Value {
    // SAFETY: Node's own call; results are writable.
    unsafe {
        call(env, info, |call| {
            if IDLE.load(Ordering::Relaxed).is_null() || !LATER.load(Ordering::Relaxed).is_null() {
                return call.throw("runFromLoop() works after onIdle(), for one function at a time");
            }
            let later = Later { env, first: call.reference(0), next: call.reference(1) };
            LATER.store(Box::into_raw(Box::new(later)), Ordering::Relaxed);
            call.undefined()
        })
    }
}

/// What wakes the driver once, whatever the program does with timers of its own. It keeps no loop alive.
struct Wake {
    env: Env,
    timer: *mut c_void,
    callback: *mut c_void,
}

static WAKE: AtomicPtr<Wake> = AtomicPtr::new(ptr::null_mut());

unsafe extern "C" fn wake(_timer: *mut c_void) {
    let (Some(node), wake) = (bound(), WAKE.load(Ordering::Relaxed)) else { return };
    if wake.is_null() {
        return;
    }
    let api = &node.api;
    // SAFETY: it lives for ever, this is the loop's thread, and a handle scope surrounds the call.
    unsafe {
        let (mut scope, mut callback) = (ptr::null_mut(), ptr::null_mut());
        (api.napi_open_handle_scope)((*wake).env, &raw mut scope);
        (api.napi_get_reference_value)((*wake).env, (*wake).callback, &raw mut callback);
        (api.napi_make_callback)((*wake).env, ptr::null_mut(), callback, callback, 0, ptr::null(), ptr::null_mut());
        (api.napi_close_handle_scope)((*wake).env, scope);
    }
}

/// `wakeLater(ms, callback)`: calls back from the loop after that time, if the loop still turns. A later call takes the place of an earlier one; the
/// callback is that of the first.
unsafe extern "C" fn wake_later(env: Env, info: CallbackInfo) -> Value {
    // SAFETY: Node's own call.
    unsafe {
        call(env, info, |call| {
            let (uv, event_loop) = (&call.node.uv, LOOP.load(Ordering::Relaxed));
            if event_loop.is_null() {
                return call.throw("wakeLater() works in the main thread, after start()");
            }
            let mut wake_up = WAKE.load(Ordering::Relaxed);
            if wake_up.is_null() {
                // SAFETY: zeroed memory of the size that libuv asks for, which is never freed.
                let timer = libc::calloc(1, (uv.uv_handle_size)(UV_TIMER));
                (uv.uv_timer_init)(event_loop, timer);
                wake_up = Box::into_raw(Box::new(Wake { env, timer, callback: call.reference(1) }));
                WAKE.store(wake_up, Ordering::Relaxed);
            }
            (uv.uv_timer_start)((*wake_up).timer, wake, u64::from(call.number(0)), 0);
            (uv.uv_unref)((*wake_up).timer);
            call.undefined()
        })
    }
}

/// A function of the program's world that the driver has to do with, before and after.
struct Wrapped {
    original: *mut c_void,
    before: *mut c_void,
    after: *mut c_void,
}

/// `wrap(original, before, after, name)`: a function that calls `before`, `original` with its own receiver and arguments, and `after` with what `before`
/// gave. A function of JavaScript in its place would show in every stack that is taken within `original`.
unsafe extern "C" fn wrap(env: Env, info: CallbackInfo) -> Value {
    // SAFETY: Node's own call; the result is writable.
    unsafe {
        call(env, info, |call| {
            let wrapped = Wrapped { original: call.reference(0), before: call.reference(1), after: call.reference(2) };
            let name = call.text(3).unwrap_or_default();
            let mut function = ptr::null_mut();
            let data = Box::into_raw(Box::new(wrapped)).cast();
            (call.node.api.napi_create_function)(env, name.as_ptr().cast(), name.len(), call_wrapped, data, &raw mut function);
            function
        })
    }
}

unsafe extern "C" fn call_wrapped(env: Env, info: CallbackInfo) -> Value {
    let Some(node) = bound() else { return ptr::null_mut() };
    let api = &node.api;
    let mut arguments = vec![ptr::null_mut(); 8];
    let (mut count, mut receiver, mut data) = (arguments.len(), ptr::null_mut(), ptr::null_mut());
    // SAFETY: Node's own call; there is room for as many arguments as is said, and the rest is writable. The data was boxed by `wrap` and lives for ever.
    unsafe {
        (api.napi_get_cb_info)(env, info, &raw mut count, arguments.as_mut_ptr(), &raw mut receiver, &raw mut data);
        if count > arguments.len() {
            arguments.resize(count, ptr::null_mut());
            (api.napi_get_cb_info)(env, info, &raw mut count, arguments.as_mut_ptr(), ptr::null_mut(), ptr::null_mut());
        }
        arguments.truncate(count);
        let wrapped = &*data.cast::<Wrapped>();
        let call = Call { node, env, arguments: [ptr::null_mut(); 4] };
        let [original, before, after] = [wrapped.original, wrapped.before, wrapped.after].map(|reference| {
            let mut function = ptr::null_mut();
            (api.napi_get_reference_value)(env, reference, &raw mut function);
            function
        });
        let (failed, token) = call.invoke(call.undefined(), before, &arguments);
        if failed {
            (api.napi_throw)(env, token);
            return ptr::null_mut();
        }
        let (threw, value) = call.invoke(receiver, original, &arguments);
        let (failed, replacement) = call.invoke(call.undefined(), after, &[token, call.boolean(threw), value]);
        if failed || threw {
            (api.napi_throw)(env, if failed { replacement } else { value });
            return ptr::null_mut();
        }
        value
    }
}

/// Node's own teardown at the end of the loop joins threads that a forked child does not have. So an endless timer keeps the loop turning, and before
/// each turn it is asked whether anything else would.
unsafe extern "C" fn on_idle(env: Env, info: CallbackInfo) -> Value {
    // SAFETY: Node's own call.
    unsafe {
        call(env, info, |call| {
            let (uv, event_loop) = (&call.node.uv, LOOP.load(Ordering::Relaxed));
            if event_loop.is_null() || !IDLE.load(Ordering::Relaxed).is_null() {
                return call.throw("onIdle() works once, in the main thread, after start()");
            }
            // SAFETY: the handles get zeroed memory of the size that libuv asks for, which is never freed; results are writable.
            let timer = libc::calloc(1, (uv.uv_handle_size)(UV_TIMER));
            let prepare = libc::calloc(1, (uv.uv_handle_size)(UV_PREPARE));
            let callback = call.reference(0);
            let (isolate, platform) = if FORKED.load(Ordering::Relaxed) { (ptr::null_mut(), ptr::null_mut()) } else { platform(call.node) };
            IDLE.store(Box::into_raw(Box::new(Idle { env: call.env, timer, callback, isolate, platform })), Ordering::Relaxed);
            (uv.uv_timer_init)(event_loop, timer);
            (uv.uv_timer_start)(timer, never, 1 << 40, 1 << 40);
            (uv.uv_prepare_init)(event_loop, prepare);
            (uv.uv_prepare_start)(prepare, look_at_loop);
            (uv.uv_unref)(prepare);
            call.undefined()
        })
    }
}

unsafe extern "C" fn alive(env: Env, info: CallbackInfo) -> Value {
    // SAFETY: Node's own call.
    unsafe { call(env, info, |call| call.boolean(anything_else_alive(call.node))) }
}

/// Node's entry: fills the module's exports.
///
/// # Safety
/// Called by Node with a live environment and exports object.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn napi_register_module_v1(env: Env, exports: Value) -> Value {
    let Some(node) = bound() else { return exports };
    heap::prepare();
    let functions: [(&CStr, Callback); 21] = [
        (c"start", start),
        (c"receive", receive),
        (c"send", send),
        (c"openCall", open_call),
        (c"annotate", annotate),
        (c"pid", pid),
        (c"parentPid", parent_pid),
        (c"beginImports", begin_imports),
        (c"neverFork", never_fork),
        (c"randomSeed", random_seed),
        (c"exit", exit),
        (c"fitHeap", fit_heap),
        (c"constrainedMemory", constrained_memory),
        (c"prepare", prepare),
        (c"findImports", find_imports),
        (c"findMistake", find_mistake),
        (c"onIdle", on_idle),
        (c"alive", alive),
        (c"runFromLoop", run_from_loop),
        (c"wakeLater", wake_later),
        (c"wrap", wrap),
    ];
    for (name, callback) in functions {
        let mut function = ptr::null_mut();
        // SAFETY: a live environment, NUL-terminated names, writable results.
        unsafe {
            (node.api.napi_create_function)(env, name.as_ptr(), name.to_bytes().len(), callback, ptr::null_mut(), &raw mut function);
            (node.api.napi_set_named_property)(env, exports, name.as_ptr(), function);
        }
    }
    exports
}
