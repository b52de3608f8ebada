//! The functions of Node-API, libuv, V8 and Node that this library calls, found by name.

use std::ffi::{c_char, c_void};
use std::sync::OnceLock;

use super::platform::Uv;
use crate::symbols::table;

pub(super) type Env = *mut c_void;
pub(super) type Value = *mut c_void;
pub(super) type CallbackInfo = *mut c_void;
pub(super) type Callback = unsafe extern "C" fn(Env, CallbackInfo) -> Value;

table! {
    /// The parts of Node-API that are used (nodejs.org, "Node-API"; all of version 8 or older).
    pub struct NodeApi {
        napi_create_function:
            fn(Env, *const c_char, usize, Callback, *mut c_void, *mut Value) -> i32,
        napi_set_named_property: fn(Env, Value, *const c_char, Value) -> i32,
        napi_get_cb_info:
            fn(Env, CallbackInfo, *mut usize, *mut Value, *mut Value, *mut *mut c_void) -> i32,
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
        napi_get_typedarray_info: fn(
            Env, Value, *mut i32, *mut usize, *mut *mut c_void, *mut Value, *mut usize,
        ) -> i32,
        napi_throw_error: fn(Env, *const c_char, *const c_char) -> i32,
        napi_get_uv_event_loop: fn(Env, *mut *mut c_void) -> i32,
        napi_create_reference: fn(Env, Value, u32, *mut *mut c_void) -> i32,
        napi_get_reference_value: fn(Env, *mut c_void, *mut Value) -> i32,
        napi_open_handle_scope: fn(Env, *mut *mut c_void) -> i32,
        napi_close_handle_scope: fn(Env, *mut c_void) -> i32,
        napi_make_callback:
            fn(Env, *mut c_void, Value, Value, usize, *const Value, *mut Value) -> i32,
        napi_call_function: fn(Env, Value, Value, usize, *const Value, *mut Value) -> i32,
        napi_get_and_clear_last_exception: fn(Env, *mut Value) -> i32,
        napi_fatal_exception: fn(Env, Value) -> i32,
        napi_throw: fn(Env, Value) -> i32,
        napi_typeof: fn(Env, Value, *mut i32) -> i32,
        napi_delete_reference: fn(Env, *mut c_void) -> i32,
    }
}

/// The value `napi_function` of the enumeration `napi_valuetype`.
pub(super) const NAPI_FUNCTION: i32 = 7;

/// The C++ type `node::async_context`, the asynchronous context of a call.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct AsyncContext {
    async_id: f64,
    trigger_async_id: f64,
}

/// The context in which Node runs the main file of a program: its asynchronous id is 1.
pub(super) const MAIN_CONTEXT: AsyncContext = AsyncContext { async_id: 1.0, trigger_async_id: 0.0 };

table! {
    /// The scope around a call from the loop, with an asynchronous context that the caller chooses,
    /// because Node-API accepts only its own contexts. The functions are C++, with the same names
    /// in Node 22 to 26; a `Local` is passed as a pointer.
    pub struct CallbackScopes {
        _ZN2v87Isolate10GetCurrentEv: fn() -> *mut c_void,
        _ZN4node13CallbackScopeC1EPN2v87IsolateENS1_5LocalINS1_6ObjectEEENS_13async_contextE:
            fn(*mut c_void, *mut c_void, Value, AsyncContext),
        _ZN4node13CallbackScopeD1Ev: fn(*mut c_void),
    }
}

/// Space on the stack for a `node::CallbackScope`, which has about 60 bytes.
#[repr(C, align(16))]
pub(super) struct CallbackScopeRoom(pub(super) [u8; 256]);

table! {
    /// The functions by which Node waits for V8's tasks on worker threads, such as the compilation
    /// of WebAssembly, once libuv's loop is empty. They are C++, with the same names in Node 22 to
    /// 26; a `Local` is passed as a pointer.
    pub struct WorkerTasks {
        _ZN2v87Isolate10GetCurrentEv: fn() -> *mut c_void,
        _ZN2v87Isolate17GetCurrentContextEv: fn(*mut c_void) -> *mut c_void,
        _ZN4node21GetCurrentEnvironmentEN2v85LocalINS0_7ContextEEE: fn(*mut c_void) -> *mut c_void,
        _ZN4node23GetMultiIsolatePlatformEPNS_11EnvironmentE: fn(*mut c_void) -> *mut c_void,
        _ZN4node12NodePlatform10DrainTasksEPN2v87IsolateE: fn(*mut c_void, *mut c_void),
    }
}

/// The functions of Node that were found in this process.
pub(super) struct Bound {
    pub(super) api: NodeApi,
    pub(super) uv: Uv,
    pub(super) tasks: Option<WorkerTasks>,
    pub(super) scopes: Option<CallbackScopes>,
}

static BOUND: OnceLock<Option<Bound>> = OnceLock::new();

/// Returns the functions of Node, or `None` if a required one is missing.
pub(super) fn bound() -> Option<&'static Bound> {
    let load = || {
        Some(Bound {
            api: NodeApi::load()?,
            uv: Uv::load()?,
            tasks: WorkerTasks::load(),
            scopes: CallbackScopes::load(),
        })
    };
    BOUND.get_or_init(load).as_ref()
}
