//go:build !linux

package journal

// syncDir has nothing to do where folders cannot be synced: a rename is durable with its file.
func syncDir(string) error { return nil }
