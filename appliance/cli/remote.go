package cli

import (
	"cmp"
	"os"
	"strings"

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
		return localClient(c.String("dir"))
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
	return remoteClient(server, c.String("ca-file"), token)
}

func localClient(dir string) (*api.Client, error) {
	socket, err := node.SocketPath(dir)
	if err != nil {
		return nil, err
	}
	return api.NewClient(socket), nil
}

func remoteClient(server, caFile, token string) (*api.Client, error) {
	var authority []byte
	if caFile != "" {
		var err error
		if authority, err = os.ReadFile(caFile); err != nil {
			return nil, err
		}
	}
	n, err := api.NewRemoteClient(server, authority, token)
	if err != nil {
		return nil, misuse("--server: %v", err)
	}
	return n, nil
}

// asked is clientOf of a command line that is still being typed: flags have what is there of it. A token from stdin cannot be had.
func asked(flags map[string]string) (*api.Client, error) {
	value := func(flag, variable string) string {
		if v, typed := flags[flag]; typed {
			return v
		}
		return os.Getenv(variable)
	}
	server := value("server", "ASHLAR_SERVER")
	_, here := flags["dir"]
	if _, there := flags["server"]; server == "" || here && !there {
		return localClient(cmp.Or(value("dir", "ASHLAR_DIR"), DefaultDir))
	}
	token, err := os.ReadFile(value("token-file", "ASHLAR_TOKEN_FILE"))
	if err != nil {
		return nil, err
	}
	return remoteClient(server, value("ca-file", "ASHLAR_CA_FILE"), strings.TrimSpace(string(token)))
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
