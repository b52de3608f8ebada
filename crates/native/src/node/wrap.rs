//! Functions of Node that the driver wraps without a frame of its own in the program's stacks.

use std::ffi::c_void;
use std::ptr;

use super::api::{CallbackInfo, Env, Value, bound};
use super::call::{Call, call};

/// A function that the driver has wrapped, with the calls before and after it.
struct Wrapped {
    original: *mut c_void,
    before: *mut c_void,
    after: *mut c_void,
}

/// Implements `wrap(original, before, after, name)`: returns a function that calls `before`, then
/// `original` with its own receiver and arguments, then `after` with the result of `before`. A
/// JavaScript function in its place would appear in every stack that is captured within `original`.
pub(super) unsafe extern "C" fn wrap(env: Env, info: CallbackInfo) -> Value {
    // SAFETY: Node's own call; the result is writable.
    unsafe {
        call(env, info, |call| {
            let wrapped = Wrapped {
                original: call.reference(0),
                before: call.reference(1),
                after: call.reference(2),
            };
            let name = call.text(3).unwrap_or_default();
            let mut function = ptr::null_mut();
            let data = Box::into_raw(Box::new(wrapped)).cast();
            (call.node.api.napi_create_function)(
                env,
                name.as_ptr().cast(),
                name.len(),
                call_wrapped,
                data,
                &raw mut function,
            );
            function
        })
    }
}

unsafe extern "C" fn call_wrapped(env: Env, info: CallbackInfo) -> Value {
    let Some(node) = bound() else { return ptr::null_mut() };
    let api = &node.api;
    let mut arguments = vec![ptr::null_mut(); 8];
    let (mut count, mut receiver, mut data) = (arguments.len(), ptr::null_mut(), ptr::null_mut());
    // SAFETY: Node's own call; there is space for `count` arguments, and the rest is writable. The
    // data was boxed by `wrap` and is never freed.
    unsafe {
        (api.napi_get_cb_info)(
            env,
            info,
            &raw mut count,
            arguments.as_mut_ptr(),
            &raw mut receiver,
            &raw mut data,
        );
        if count > arguments.len() {
            arguments.resize(count, ptr::null_mut());
            (api.napi_get_cb_info)(
                env,
                info,
                &raw mut count,
                arguments.as_mut_ptr(),
                ptr::null_mut(),
                ptr::null_mut(),
            );
        }
        arguments.truncate(count);
        let wrapped = &*data.cast::<Wrapped>();
        let call = Call { node, env, arguments: [ptr::null_mut(); 4] };
        let [original, before, after] =
            [wrapped.original, wrapped.before, wrapped.after].map(|reference| {
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
        let (failed, replacement) =
            call.invoke(call.undefined(), after, &[token, call.boolean(threw), value]);
        if failed || threw {
            (api.napi_throw)(env, if failed { replacement } else { value });
            return ptr::null_mut();
        }
        value
    }
}
