//! The plugin's side as it lies in its file: found, checked, and its functions taken out of either layout.

use std::ffi::c_void;
use std::path::{Path, PathBuf};

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use nylon_ring_abi::{
    GET_PLUGIN_SYMBOL, GetPluginFn, HandleFn, HandleRawFn, InitFn, NR_ABI_VERSION, NrPluginInfo, NrPluginVTable,
    NrPluginVTableRaw, ShutdownFn, StreamCloseFn, StreamDataFn,
};

use crate::NylonRingHostError;

/// Which functions the plugin's table holds. Nothing at run time tells the two apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// Five: a raw call goes through `handle`, with a null request.
    #[default]
    Seed,
    /// Six: `handle_raw` stands between `handle` and `shutdown`.
    Raw,
}

/// An instance's functions, with the context that each of them gets.
#[derive(Clone, Copy)]
pub(crate) struct Plugin {
    pub ctx: *mut c_void,
    pub init: Option<InitFn>,
    pub handle: HandleFn,
    pub handle_raw: Option<HandleRawFn>,
    pub shutdown: Option<ShutdownFn>,
    pub stream_data: Option<StreamDataFn>,
    pub stream_close: Option<StreamCloseFn>,
}

// SAFETY: the ABI lets a host call these from any of its threads; the context is a token that only they read.
unsafe impl Send for Plugin {}
// SAFETY: as above.
unsafe impl Sync for Plugin {}

/// What a file gave: it stays mapped as long as `library` lives.
pub(crate) struct Opened {
    pub library: Library,
    pub plugin: Plugin,
    pub name: String,
    pub version: String,
}

/// dlopen looks a bare name up in the system's folders; a path names a file.
fn as_file(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new(".").join(path),
        _ => path.to_owned(),
    }
}

/// Opens the file and asks it for an instance. Nothing of the plugin but its `get_plugin` has run then.
pub(crate) fn open(path: &Path, layout: Layout) -> Result<Opened, NylonRingHostError> {
    let unusable = |reason: String| NylonRingHostError::InvalidEntryPoint {
        path: path.to_owned(),
        reason,
    };
    // SAFETY: running the constructors of the file is what loading a plugin means; the caller chose the file.
    let library = unsafe { Library::open(Some(as_file(path)), RTLD_NOW | RTLD_LOCAL) }.map_err(|source| {
        NylonRingHostError::LoadError {
            path: path.to_owned(),
            source,
        }
    })?;
    // SAFETY: the ABI gives the symbol this type.
    let get_plugin = unsafe { library.get::<GetPluginFn>(GET_PLUGIN_SYMBOL.as_bytes()) }
        .map_err(|_| unusable(format!("it does not export {GET_PLUGIN_SYMBOL}")))?;
    // SAFETY: the function takes nothing, and what it points to lives as long as the library.
    let info = unsafe { get_plugin().as_ref() }.ok_or_else(|| unusable("it gives no plugin info".to_owned()))?;
    if info.abi_version != NR_ABI_VERSION {
        return Err(NylonRingHostError::AbiVersionMismatch {
            expected: NR_ABI_VERSION,
            actual: info.abi_version,
        });
    }
    let needed = size_of::<NrPluginInfo>();
    if usize::try_from(info.struct_size).is_ok_and(|size| size < needed) {
        return Err(unusable(format!("its info has {} bytes of {needed}", info.struct_size)));
    }
    if info.vtable.is_null() {
        return Err(unusable("it has no table of functions".to_owned()));
    }
    // SAFETY: not null, and of the layout that the caller names.
    let plugin = unsafe { functions(info, layout) }.ok_or_else(|| unusable("it has no handle function".to_owned()))?;
    // SAFETY: the info's texts live as long as the info.
    let (name, version) = unsafe { (info.name.as_str(), info.version.as_str()) };
    let text = |text: Option<&str>| {
        text.map(str::to_owned)
            .ok_or_else(|| unusable("its name is no text".to_owned()))
    };
    let (name, version) = (text(name)?, text(version)?);
    Ok(Opened {
        library,
        plugin,
        name,
        version,
    })
}

/// The functions, from either layout; `None` without a `handle`.
///
/// # Safety
/// `info.vtable` points to a table of this layout.
unsafe fn functions(info: &NrPluginInfo, layout: Layout) -> Option<Plugin> {
    let ctx = info.plugin_ctx;
    match layout {
        Layout::Seed => {
            // SAFETY: the caller's promise.
            let table = unsafe { &*info.vtable.cast::<NrPluginVTable>() };
            Some(Plugin {
                ctx,
                init: table.init,
                handle: table.handle?,
                handle_raw: None,
                shutdown: table.shutdown,
                stream_data: table.stream_data,
                stream_close: table.stream_close,
            })
        }
        Layout::Raw => {
            // SAFETY: the caller's promise.
            let table = unsafe { &*info.vtable.cast::<NrPluginVTableRaw>() };
            Some(Plugin {
                ctx,
                init: table.init,
                handle: table.handle?,
                handle_raw: table.handle_raw,
                shutdown: table.shutdown,
                stream_data: table.stream_data,
                stream_close: table.stream_close,
            })
        }
    }
}
