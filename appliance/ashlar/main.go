// Command ashlar is the whole product in one binary: the daemon, the command
// line, and a demonstration.
package main

import (
	"context"
	"os"
	"runtime/debug"

	"ashlar/appliance/cli"
	"ashlar/appliance/demo"
)

func main() {
	os.Exit(cli.Run(context.Background(), version(), os.Args, os.Stdin, os.Stdout, os.Stderr, demo.Command()))
}

// release is set by who builds a package.
var release string

// version is the package's, else the module's, with the commit that it was built from.
func version() string {
	if release != "" {
		return release
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return "devel-" + s.Value[:12]
		}
	}
	return "devel"
}
