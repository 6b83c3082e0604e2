// Package shipped has the objects that come with the program as Go values, so that whoever needs them starts no CUE: the
// baselines that AWS Systems Manager predefines, those of systems that this build does not judge among them, and the
// documents that every fleet can run. Their source is policies/, in CUE; a test of schema/load writes them anew and
// holds the two together.
//
// Each call makes values of its own, which are the caller's.
package shipped
