// Package cli is the command line: each command is a few calls of the API's
// client. Tables are for people, "-o json" gives the API's own documents. What
// goes wrong is one sentence on stderr and a non-zero exit status: 1 where an
// order could not be carried out, 2 where the command line makes no sense.
package cli
