// Serves dynalite, in memory, on a free port of 127.0.0.1:
//
//     node serve.js PORT_FILE
//
// Writes the port to PORT_FILE, and ends when its standard input ends. So the server always ends together with the
// script that started it, even if that script is killed.
'use strict'

const fs = require('fs')
const dynalite = require('dynalite')

const portFile = process.argv[2]
process.stdin.on('end', () => process.exit(0)).resume()

const server = dynalite({ createTableMs: 0, deleteTableMs: 0, updateTableMs: 0 })
// If a connection closes while a request is in flight, the client assumes that the reply was lost.
server.keepAliveTimeout = 75000
server.listen(0, '127.0.0.1', () => {
  // Rename the complete file into place, so that the script never reads half of it.
  fs.writeFileSync(portFile + '.partial', server.address().port + '\n')
  fs.renameSync(portFile + '.partial', portFile)
})
