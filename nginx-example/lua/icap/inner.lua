--- Fetch what the current request asks for from the inner nginx server, over its Unix socket. Choice of upstream, TLS,
-- retries and caching are that server's; this is plain HTTP/1.1 to a neighbour.

local body = require "icap.body"
local chunks = require "icap.chunks"
local heads = require "icap.heads"
local Reader = require "icap.reader"

local _M = {}

local KEEP_MS = 30000
local KEEP_MAX = 64
local CONNECT_MS = 2000
local SEND_MS = 60000
-- Longer than any time-out a proxy_pass would have: the inner server, which knows the upstream, is to give up first.
local READ_MS = 3600 * 1000
local READ_BYTES = 32768

local Response = {}
Response.__index = Response

--- @return the socket, or nil and an error.
local function connect(address)
    local socket = ngx.socket.tcp()
    socket:settimeouts(CONNECT_MS, SEND_MS, READ_MS)
    local ok, err = socket:connect(address)
    if not ok then
        return nil, "connect to " .. address .. ": " .. err
    end
    return socket
end

local function send(socket, head, source)
    local ok, err = socket:send(head)
    while ok and source do
        local piece, read_err = source:read()
        if not piece then
            return not read_err, read_err
        end
        ok, err = socket:send(piece)
    end
    return ok, err
end

local function read_head(reader)
    repeat
        local text, err = reader:head(heads.MAX_BYTES)
        if not text then
            return nil, err
        end
        local start_line, fields = heads.parse(text)
        local status = start_line and heads.status(start_line, "HTTP")
        if not status then
            return nil, "not an HTTP answer: " .. (start_line or fields)
        elseif status == 101 then
            return nil, "an upgrade, which cannot be scanned"
        elseif status >= 200 then
            return start_line, fields, status
        end
    until false
end

--- The function that reads the body and knows its end.
local function body_reader(response, reader, length)
    if response.is_chunked then
        return chunks.decoder(reader, body.PIECE_BYTES)
    elseif length then
        local left = length
        return function()
            if left == 0 then
                return nil
            end
            local piece, err = reader:piece(math.min(left, body.PIECE_BYTES))
            left = left - #(piece or "")
            return piece, err
        end
    end
    return function() -- to the end of the connection
        local piece, err = reader:piece(body.PIECE_BYTES)
        return piece, err ~= "closed" and err or nil
    end
end

local function receive(socket)
    local reader = Reader.new(function()
        return socket:receiveany(READ_BYTES)
    end)
    local start_line, fields, status = read_head(reader)
    if not start_line then
        return nil, fields
    end
    local length = heads.content_length(fields)
    if length == false then
        return nil, "contradictory Content-Length"
    end
    local response = setmetatable({
        socket = socket,
        reader = reader,
        start_line = start_line,
        status = status,
        is_chunked = heads.list(fields, "transfer-encoding")["chunked"],
        must_close = heads.list(fields, "connection")["close"],
        fields = heads.end_to_end(fields),
    }, Response)
    local has_none = ngx.req.get_method() == "HEAD" or status == 204 or status == 304
    if has_none or (length == 0 and not response.is_chunked) then
        response.has_ended = true
    else
        local size_bytes = not response.is_chunked and length or nil
        response.must_close = response.must_close or not (response.is_chunked or length)
        local next_piece = body_reader(response, reader, size_bytes)
        response.body = body.of_stream(function()
            local piece, err = next_piece()
            response.has_ended = not piece and not err
            return piece, err
        end, size_bytes)
    end
    return response
end

--- @param address of the inner server, `unix:/PATH`.
-- @param head, source the request to send; the source is nil when it has no body.
-- @return the response: start_line, status, fields, body (nil: none); or nil and an error.
function _M.fetch(address, head, source)
    local socket, err = connect(address)
    if not socket then
        return nil, err
    end
    local is_reused = socket:getreusedtimes() > 0
    -- Read the answer even if the request was not all taken: the server may say why.
    local was_sent = send(socket, head, source)
    local response
    response, err = receive(socket)
    if response then
        response.must_close = response.must_close or not was_sent
        return response
    end
    socket:close()
    if is_reused and err == "closed" and not source then
        return _M.fetch(address, head) -- kept too long; at worst once for each kept connection
    end
    return nil, err
end

--- Keep the connection if the body has been read to its end; close it otherwise.
function Response:release()
    local has_ended = self.has_ended or (self.body and self.body.is_whole and not self.is_chunked)
    if has_ended and not self.must_close and not self.reader:has_rest() then
        self.socket:setkeepalive(KEEP_MS, KEEP_MAX)
    else
        self.socket:close()
    end
end

return _M
