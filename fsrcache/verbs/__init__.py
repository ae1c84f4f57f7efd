"""The work of each command on a workspace: one function a file, which takes what the command's options say."""
