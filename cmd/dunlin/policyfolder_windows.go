package main

import (
	"io/fs"
	"os"
)

// keepOwner has nothing to do: files get their owner from their folder.
func keepOwner(*os.File, fs.FileInfo) {}
