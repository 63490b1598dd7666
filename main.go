// Command facescan finds the faces in the images of a list of URLs. See `facescan help`.
package main

import (
	"os"

	"facescan/cmd"
)

func main() {
	os.Exit(cmd.Main())
}
