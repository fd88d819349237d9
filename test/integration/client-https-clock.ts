// A web server for the client's tests: tells the time. Started as: node client-https-clock.js PORT [KEY CERTIFICATE]
import { readFileSync } from 'node:fs';
import { createServer as createHttp, type RequestListener } from 'node:http';
import { createServer as createHttps } from 'node:https';

const [port = '', key, cert] = process.argv.slice(2);
const answer: RequestListener = (_, response) => response.end();
const server =
  key === undefined || cert === undefined ? createHttp(answer) : createHttps({ key: readFileSync(key), cert: readFileSync(cert) }, answer);
server.listen(Number(port), '::', () => process.stdout.write('ready\n'));
