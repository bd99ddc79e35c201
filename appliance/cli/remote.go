package cli

import (
	"os"

	"ashlar/appliance/api"
	"ashlar/node"

	"github.com/urfave/cli/v2"
)

// remoteFlags are for orders over the network. A token is taken from a file only: every process sees a command line.
func remoteFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "server", EnvVars: []string{"ASHLAR_SERVER"}, Usage: "https://NODE:PORT of any node, over the network, instead of --dir"},
		&cli.StringFlag{Name: "ca-file", EnvVars: []string{"ASHLAR_CA_FILE"}, Usage: "file with the cluster's certificate (ashlar cluster ca), for --server"},
		&cli.StringFlag{Name: "token-file", EnvVars: []string{"ASHLAR_TOKEN_FILE"}, Usage: "file with the token, or - for stdin, for --server"},
	}
}

// clientOf is of the node that the flags name. --dir goes before $ASHLAR_SERVER, and --server before $ASHLAR_DIR.
func clientOf(c *cli.Context) (*api.Client, error) {
	server := c.String("server")
	if server == "" || given(c, "dir") && !given(c, "server") {
		socket, err := node.SocketPath(c.String("dir"))
		if err != nil {
			return nil, err
		}
		return api.NewClient(socket), nil
	}
	if given(c, "dir") {
		return nil, misuse("give either --dir or --server")
	}
	if c.String("token-file") == "" {
		u := misuse("orders over the network need a token: --token-file FILE (- for stdin) or $ASHLAR_TOKEN_FILE")
		u.next = "`ashlar token create NAME --role ROLE` on a node makes one"
		return nil, u
	}
	token, err := fileSecret(c, "token-file")
	if err != nil {
		return nil, err
	}
	var authority []byte
	if path := c.String("ca-file"); path != "" {
		if authority, err = os.ReadFile(path); err != nil {
			return nil, err
		}
	}
	n, err := api.NewRemoteClient(server, authority, token)
	if err != nil {
		return nil, misuse("--server: %v", err)
	}
	return n, nil
}

// given says whether a flag is on the command line itself, not in the environment.
func given(c *cli.Context, name string) bool {
	for _, f := range c.Command.Flags {
		if f.Names()[0] == name {
			return c.IsSet(name) && !fromEnvironment(f, c.String(name))
		}
	}
	return false
}

func fromEnvironment(f cli.Flag, value string) bool {
	for _, v := range f.(*cli.StringFlag).EnvVars {
		if e, ok := os.LookupEnv(v); ok && e == value {
			return true
		}
	}
	return false
}
