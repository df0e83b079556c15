// Package runtime lends memory to the host. It stands in for the package of the same name, so
// that a build needs nothing from the network.
package runtime

import (
	"runtime"
	"runtime/debug"
	"unsafe"
)

// What the host has written is pinned until the bindings have made Go values of it.
var lent runtime.Pinner

func init() {
	// The collector cannot run while the host is in the middle of a call, and waits for
	// things that a component does not have. What calls leave behind, a few kilobytes each,
	// goes with the instance: the host replaces one that has grown to half of limits.memory.
	debug.SetGCPercent(-1)
}

// Allocate gives memory that stays where it is until the pinner lets it go.
func Allocate(pinner *runtime.Pinner, size, align uintptr) unsafe.Pointer {
	if size == 0 {
		return unsafe.Pointer(align)
	}
	// Words of eight octets, which is the most that any type of WIT is aligned to.
	words := make([]uint64, (size+7)/8)
	pointer := unsafe.Pointer(unsafe.SliceData(words))
	pinner.Pin(pointer)
	return pointer
}

// Unpin is called when the arguments of a call have become Go values, which hold what they need.
func Unpin() {
	lent.Unpin()
}

//go:wasmexport cabi_realloc
func realloc(old unsafe.Pointer, oldSize, align, size uintptr) unsafe.Pointer {
	pointer := Allocate(&lent, size, align)
	if oldSize > 0 {
		copy(unsafe.Slice((*byte)(pointer), size), unsafe.Slice((*byte)(old), oldSize))
	}
	return pointer
}
