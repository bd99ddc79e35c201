package demo

import "github.com/urfave/cli/v2"

func Command() *cli.Command { return &cli.Command{Name: "demo"} }
